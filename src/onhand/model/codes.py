"""Why an event is refused: codes with fixed names.

The names are an interface: dead letters, metrics (``onhand_events_dead_total{reason}``) and
``POST /v1/events`` carry them. Add to them freely; rename or drop none. An event that breaks
several rules is refused with the first: reading it, then its type, its fields in the order of the
schema, what holds between fields, and time.
"""

from __future__ import annotations

from enum import StrEnum


class RejectCode(StrEnum):
    """The rule that an event broke."""

    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    MALFORMED_JSON = "malformed_json"
    MALFORMED_MSGPACK = "malformed_msgpack"
    BAD_CLOUDEVENT = "bad_cloudevent"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    REPEATED_FIELD = "repeated_field"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    EMPTY_ID = "empty_id"
    TOO_LONG = "too_long"
    NOT_PRINTABLE = "not_printable"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_VALUE = "unknown_value"
    BAD_TIME = "bad_time"
    BAD_DATE = "bad_date"
    LINE_COUNT = "line_count"
    SKU_OR_LINES = "sku_or_lines"
    SAME_LOCATION = "same_location"
    DUPLICATE_SKU_IN_COUNT = "duplicate_sku_in_count"
    CLOCK_AHEAD = "clock_ahead"
    TOO_LATE = "too_late"
    COUNT_TOO_OLD = "count_too_old"
    IDS_FORGOTTEN = "ids_forgotten"
    COUNTS_FORGOTTEN = "counts_forgotten"
    UNDECIDED = "undecided"


MEANINGS: dict[RejectCode, str] = {
    RejectCode.EMPTY_VALUE: "The record has no value.",
    RejectCode.TOO_LARGE: "The event is larger than 1 MiB.",
    RejectCode.MALFORMED_JSON: "The value is not JSON (RFC 8259) in UTF-8.",
    RejectCode.MALFORMED_MSGPACK: "The value begins like MessagePack and cannot be read as it.",
    RejectCode.BAD_CLOUDEVENT: "The CloudEvents 1.0 envelope breaks its specification.",
    RejectCode.TOO_DEEP: "Objects and arrays are nested more than 64 deep.",
    RejectCode.NOT_AN_OBJECT: "The event is not an object.",
    RejectCode.REPEATED_FIELD: "An object names the same field twice.",
    RejectCode.UNKNOWN_TYPE: "The event's type is none of the known ones.",
    RejectCode.MISSING_FIELD: "A field that the type requires is not there.",
    RejectCode.WRONG_TYPE: "A field has a value of another JSON type than its own.",
    RejectCode.EMPTY_ID: "A name or id is the empty string.",
    RejectCode.TOO_LONG: "A string has more characters than its field may have.",
    RejectCode.NOT_PRINTABLE: "A sku or location has a character that is not printable.",
    RejectCode.OUT_OF_RANGE: "A number is outside its field's range.",
    RejectCode.UNKNOWN_VALUE: "A field has none of the values that its type allows.",
    RejectCode.BAD_TIME: "A time is not RFC 3339 with an offset.",
    RejectCode.BAD_DATE: "A date is not RFC 3339 (YYYY-MM-DD).",
    RejectCode.LINE_COUNT: "An event has no line or more than 1,000.",
    RejectCode.SKU_OR_LINES: "An event has both a sku or quantity of its own and lines.",
    RejectCode.SAME_LOCATION: "A transfer goes from a location to itself.",
    RejectCode.DUPLICATE_SKU_IN_COUNT: "A count names a sku twice.",
    RejectCode.CLOCK_AHEAD: "The event occurred over 60 s after it was appended to the log.",
    RejectCode.TOO_LATE: "The event occurred longer before its append time than late_window.",
    RejectCode.COUNT_TOO_OLD: "The count occurred longer before its append time than count_window.",
    RejectCode.IDS_FORGOTTEN: "The event is older than the ids that are remembered.",
    RejectCode.COUNTS_FORGOTTEN: "The count is older than the movements that are remembered.",
    RejectCode.UNDECIDED: "The claim could not be settled, by a fault of the order layer's.",
}
"""One line for each code, for the reference and for people."""

FORCIBLE = frozenset({RejectCode.CLOCK_AHEAD, RejectCode.TOO_LATE, RejectCode.COUNT_TOO_OLD})
"""What the header ``onhand-force`` may lift. What is forgotten cannot be forced: nobody could
know whether it is a duplicate."""
