/* The names of an event's fields and types, as small numbers and bits. model/events.py is their
 * definition; tests/twin holds this to it. */
#ifndef ONHAND_DECODE_FIELDS_H
#define ONHAND_DECODE_FIELDS_H

#include <stdint.h>
#include <string.h>

#include "onhand/batch.h"

enum oh_field {
    OH_F_TYPE,
    OH_F_ID,
    OH_F_SOURCE,
    OH_F_OCCURRED_AT,
    OH_F_ORDER_ID,
    OH_F_CUSTOMER_ID,
    OH_F_BASKET_ID,
    OH_F_REFERENCE,
    OH_F_ATTRIBUTES,
    OH_F_SKU,
    OH_F_QUANTITY,
    OH_F_LINES,
    OH_F_LOCATION,
    OH_F_PURCHASE_ORDER,
    OH_F_EXPECTED_ON,
    OH_F_TRANSFER_ID,
    OH_F_FROM,
    OH_F_TO,
    OH_F_DISPOSITION,
    OH_F_DELTA,
    OH_F_REASON,
    OH_F_ALLOCATION_ID,
    OH_F_RETURN_ID,
    OH_F_SEQUENCE,
    OH_F_SPECVERSION, /* no field of an event: it makes the object a CloudEvent */
    OH_F_COUNT,
    OH_F_UNKNOWN = OH_F_COUNT,
};

#define OH_BIT(field) (1u << OH_F_##field)

/* What every type has and may leave out. */
#define OH_COMMON_BITS                                                                            \
    (OH_BIT(TYPE) | OH_BIT(ID) | OH_BIT(SOURCE) | OH_BIT(OCCURRED_AT) | OH_BIT(ORDER_ID) |         \
     OH_BIT(CUSTOMER_ID) | OH_BIT(BASKET_ID) | OH_BIT(REFERENCE) | OH_BIT(ATTRIBUTES) |           \
     OH_BIT(SKU) | OH_BIT(LINES))
#define OH_REQUIRED_BITS (OH_BIT(TYPE) | OH_BIT(ID) | OH_BIT(SOURCE) | OH_BIT(OCCURRED_AT))
#define OH_TRANSFER_BITS (OH_BIT(TRANSFER_ID) | OH_BIT(FROM) | OH_BIT(TO))

typedef struct {
    uint32_t required; /* of its own, the amount apart */
    uint32_t optional; /* of its own */
    uint32_t amount;   /* QUANTITY or DELTA */
    uint8_t zero;      /* whether the amount may be 0 */
} oh_type_rules_t;

static const oh_type_rules_t oh_type_rules[OH_ADJUSTMENT + 1] = {
    [OH_SALE] = {OH_BIT(LOCATION), OH_BIT(ALLOCATION_ID), OH_BIT(QUANTITY), 0},
    [OH_RECEIPT] = {OH_BIT(LOCATION), OH_BIT(PURCHASE_ORDER), OH_BIT(QUANTITY), 0},
    [OH_EXPECTED] = {OH_BIT(LOCATION) | OH_BIT(PURCHASE_ORDER) | OH_BIT(EXPECTED_ON), 0,
                     OH_BIT(QUANTITY), 1},
    [OH_TRANSFER_SHIPPED] = {OH_TRANSFER_BITS, 0, OH_BIT(QUANTITY), 0},
    [OH_TRANSFER_RECEIVED] = {OH_TRANSFER_BITS, 0, OH_BIT(QUANTITY), 0},
    [OH_TRANSFER_LOST] = {OH_TRANSFER_BITS, 0, OH_BIT(QUANTITY), 0},
    [OH_RETURN] = {OH_BIT(LOCATION) | OH_BIT(DISPOSITION), OH_BIT(RETURN_ID), OH_BIT(QUANTITY), 0},
    [OH_INSPECTED] = {OH_BIT(LOCATION) | OH_BIT(DISPOSITION), 0, OH_BIT(QUANTITY), 0},
    [OH_COUNT] = {OH_BIT(LOCATION), 0, OH_BIT(QUANTITY), 1},
    [OH_ADJUSTMENT] = {OH_BIT(LOCATION) | OH_BIT(REASON), 0, OH_BIT(DELTA), 0},
};

#define OH_IS(name) (memcmp(at, name, sizeof name - 1) == 0)

static inline enum oh_field oh_field_of(const uint8_t *at, uint32_t length)
{
    switch (length) {
    case 2: return OH_IS("id") ? OH_F_ID : OH_IS("to") ? OH_F_TO : OH_F_UNKNOWN;
    case 3: return OH_IS("sku") ? OH_F_SKU : OH_F_UNKNOWN;
    case 4: return OH_IS("type") ? OH_F_TYPE : OH_IS("from") ? OH_F_FROM : OH_F_UNKNOWN;
    case 5: return OH_IS("lines") ? OH_F_LINES : OH_IS("delta") ? OH_F_DELTA : OH_F_UNKNOWN;
    case 6: return OH_IS("source") ? OH_F_SOURCE : OH_IS("reason") ? OH_F_REASON : OH_F_UNKNOWN;
    case 8:
        return OH_IS("quantity")   ? OH_F_QUANTITY
               : OH_IS("location") ? OH_F_LOCATION
               : OH_IS("order_id") ? OH_F_ORDER_ID
               : OH_IS("sequence") ? OH_F_SEQUENCE
                                   : OH_F_UNKNOWN;
    case 9:
        return OH_IS("basket_id")   ? OH_F_BASKET_ID
               : OH_IS("reference") ? OH_F_REFERENCE
               : OH_IS("return_id") ? OH_F_RETURN_ID
                                    : OH_F_UNKNOWN;
    case 10: return OH_IS("attributes") ? OH_F_ATTRIBUTES : OH_F_UNKNOWN;
    case 11:
        return OH_IS("occurred_at")   ? OH_F_OCCURRED_AT
               : OH_IS("customer_id") ? OH_F_CUSTOMER_ID
               : OH_IS("transfer_id") ? OH_F_TRANSFER_ID
               : OH_IS("disposition") ? OH_F_DISPOSITION
               : OH_IS("expected_on") ? OH_F_EXPECTED_ON
               : OH_IS("specversion") ? OH_F_SPECVERSION
                                      : OH_F_UNKNOWN;
    case 13: return OH_IS("allocation_id") ? OH_F_ALLOCATION_ID : OH_F_UNKNOWN;
    case 14: return OH_IS("purchase_order") ? OH_F_PURCHASE_ORDER : OH_F_UNKNOWN;
    default: return OH_F_UNKNOWN;
    }
}

/* 0 when it is none. */
static inline uint8_t oh_type_of(const uint8_t *at, uint32_t length)
{
    switch (length) {
    case 4: return OH_IS("sale") ? OH_SALE : 0;
    case 5: return OH_IS("count") ? OH_COUNT : 0;
    case 6: return OH_IS("return") ? OH_RETURN : 0;
    case 7: return OH_IS("receipt") ? OH_RECEIPT : 0;
    case 8: return OH_IS("expected") ? OH_EXPECTED : 0;
    case 9: return OH_IS("inspected") ? OH_INSPECTED : 0;
    case 10: return OH_IS("adjustment") ? OH_ADJUSTMENT : 0;
    case 13: return OH_IS("transfer_lost") ? OH_TRANSFER_LOST : 0;
    case 16: return OH_IS("transfer_shipped") ? OH_TRANSFER_SHIPPED : 0;
    case 17: return OH_IS("transfer_received") ? OH_TRANSFER_RECEIVED : 0;
    default: return 0;
    }
}

/* OH_NO_DISPOSITION when it is none. */
static inline uint8_t oh_disposition_of(const uint8_t *at, uint32_t length)
{
    switch (length) {
    case 7: return OH_IS("inspect") ? OH_INSPECT : OH_IS("damaged") ? OH_DAMAGED : 0;
    case 8: return OH_IS("sellable") ? OH_SELLABLE : 0;
    default: return 0;
    }
}

#undef OH_IS

#endif
