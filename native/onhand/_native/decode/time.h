/* RFC 3339 times and dates, exact to the microsecond. Like json.h it may refuse what is right
 * (a leap second, a year before 1970): Python decides those. */
#ifndef ONHAND_DECODE_TIME_H
#define ONHAND_DECODE_TIME_H

#include <stdbool.h>
#include <stdint.h>

/* Reads `length` digits; false when one is none. */
static inline bool oh_digits(const uint8_t *at, int length, int *value)
{
    int total = 0;
    for (int i = 0; i < length; i++) {
        unsigned digit = (unsigned)at[i] - '0';
        if (digit > 9) return false;
        total = total * 10 + (int)digit;
    }
    *value = total;
    return true;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar, from March so that the leap day is the
 * last of its year. */
static inline int32_t oh_days_from_civil(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400;
    int year_of_era = year - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* YYYY-MM-DD, years 1970 to 9999. `at` has at least ten bytes. */
static inline bool oh_parse_date(const uint8_t *at, int32_t *days)
{
    static const uint8_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (at[4] != '-' || at[7] != '-') return false;
    if (!oh_digits(at, 4, &year) || !oh_digits(at + 5, 2, &month) || !oh_digits(at + 8, 2, &day))
        return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1) return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > month_days[month - 1] + (leap && month == 2)) return false;
    *days = oh_days_from_civil(year, month, day);
    return true;
}

/* .1 to .123456789: microseconds, further digits cut off. Moves *index past it. */
static inline bool oh_parse_fraction(const uint8_t *at, uint32_t length, uint32_t *index, int *micros)
{
    uint32_t i = *index + 1;
    uint32_t start = i;
    int total = 0;
    for (; i < length && (uint8_t)(at[i] - '0') <= 9; i++) {
        if (i - start < 6) total = total * 10 + (at[i] - '0');
    }
    uint32_t digits = i - start;
    if (digits < 1 || digits > 9) return false;
    for (; digits < 6; digits++) total *= 10;
    *micros = total;
    *index = i;
    return true;
}

/* Z or +hh:mm to the end of the text: seconds to subtract. */
static inline bool oh_parse_offset(const uint8_t *at, uint32_t length, int *offset_s)
{
    int hours, minutes;
    *offset_s = 0;
    if (length == 1 && (at[0] | 0x20) == 'z') return true;
    if (length != 6 || (at[0] != '+' && at[0] != '-') || at[3] != ':') return false;
    if (!oh_digits(at + 1, 2, &hours) || !oh_digits(at + 4, 2, &minutes)) return false;
    if (hours > 23 || minutes > 59) return false;
    *offset_s = (hours * 3600 + minutes * 60) * (at[0] == '-' ? -1 : 1);
    return true;
}

/* YYYY-MM-DDThh:mm:ss[.fraction](Z|+hh:mm) to microseconds since 1970-01-01 UTC. */
static inline bool oh_parse_time(const uint8_t *at, uint32_t length, int64_t *time_us)
{
    int32_t days;
    int hour, minute, second, offset_s, micros = 0;
    uint32_t index = 19;
    if (length < 20 || !oh_parse_date(at, &days)) return false;
    if ((at[10] | 0x20) != 't' || at[13] != ':' || at[16] != ':') return false;
    if (!oh_digits(at + 11, 2, &hour) || !oh_digits(at + 14, 2, &minute) ||
        !oh_digits(at + 17, 2, &second))
        return false;
    if (hour > 23 || minute > 59 || second > 59) return false;
    if (at[19] == '.' && !oh_parse_fraction(at, length, &index, &micros)) return false;
    if (!oh_parse_offset(at + index, length - index, &offset_s)) return false;
    int64_t seconds = (int64_t)days * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    *time_us = seconds * 1000000 + micros;
    return true;
}

#endif
