"""Judge an event by its schema, and word what is wrong with it.

The rules are read off the structs of :mod:`onhand.model.events` once, at import; what holds between
fields is here. The first rule broken, in the order of the struct's fields, refuses the event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect

from onhand.model.batch import DISPOSITION_NUMBERS, TYPE_NUMBERS
from onhand.model.codes import RejectCode
from onhand.model.events import EVENT_STRUCTS, LINE_COUNT_MAX, LedgerFields
from onhand.model.times import parse_day, parse_time

Rule = Callable[[Any, str], Any]
"""Takes a value and its JSON pointer, returns it in the form that columns hold."""

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_SHOWN_MAX: Final = 40
_SHOWN_NUMBER_MAX: Final = 10**18


class Refused(Exception):
    """An event breaks a rule.

    Parameters
    ----------
    code
        Which.
    pointer
        JSON pointer of the field.
    detail
        The rule, and what was found.
    """

    def __init__(self, code: RejectCode, pointer: str, detail: str) -> None:
        super().__init__(code, pointer, detail)
        self.code = code
        self.pointer = pointer
        self.detail = detail
        self.type: str | None = None


class CheckedEvent(msgspec.Struct, frozen=True):
    """An event that keeps every rule of the schema, in the form that columns hold."""

    type: str
    id: str
    source: str
    occurred_us: int
    location: str
    from_location: str
    reference: str
    expected_day: int
    disposition: int
    sequence: int
    skus: list[str]
    quantities: list[int]
    unknown_fields: int
    is_claim: bool


def check_object(event: object, *, is_ledger: bool = False) -> CheckedEvent:
    """Judge a decoded event.

    Parameters
    ----------
    event
        What JSON or MessagePack gave.
    is_ledger
        Whether it came from ``stock.ledger``: it then has a ``sequence`` and is never a claim.

    Raises
    ------
    Refused
        With the first rule that it breaks.
    """
    if not isinstance(event, dict):
        raise Refused(RejectCode.NOT_AN_OBJECT, "", f"must be an object, was {_kind(event)}")
    type_name = _type_of(event)
    rules = _EVENT_RULES[type_name]
    if is_ledger:
        rules = rules | _LEDGER_RULES
    try:
        fields = _fields(event, rules, "")
        skus, quantities, unknown = _lines(type_name, fields)
        _check_between(type_name, fields, skus)
    except Refused as refused:
        refused.type = type_name
        raise
    return CheckedEvent(
        type=type_name,
        id=fields["id"],
        source=fields["source"],
        occurred_us=fields["occurred_at"],
        location=fields.get("to") or fields["location"],
        from_location=fields.get("from") or "",
        reference=fields.get("purchase_order") or "",
        expected_day=fields.get("expected_on") or 0,
        disposition=DISPOSITION_NUMBERS.get(fields.get("disposition") or "", 0),
        sequence=fields.get("sequence") or 0,
        skus=skus,
        quantities=quantities,
        unknown_fields=unknown + _unknown(event, rules),
        is_claim=not is_ledger and _is_claim(type_name, fields),
    )


def _type_of(event: dict[str, Any]) -> str:
    value = event.get("type")
    if value is None:
        raise Refused(RejectCode.MISSING_FIELD, "/type", "must be there")
    if not isinstance(value, str):
        raise Refused(RejectCode.WRONG_TYPE, "/type", f"must be a string, was {_kind(value)}")
    if value not in TYPE_NUMBERS:
        known = ", ".join(TYPE_NUMBERS)
        raise Refused(
            RejectCode.UNKNOWN_TYPE, "/type", f"must be one of {known}, was {_shown(value)}"
        )
    return value


def _is_claim(type_name: str, fields: dict[str, Any]) -> bool:
    if type_name == "sale":
        return fields["allocation_id"] is not None
    if type_name == "return":
        return fields["return_id"] is not None or fields["order_id"] is not None
    return False


def _fields(event: dict[str, Any], rules: _Rules, pointer: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, (rule, is_required) in rules.items():
        value = event.get(name)
        if value is not None:
            value = rule(value, f"{pointer}/{name}")
        elif is_required:
            found = "must not be null" if name in event else "must be there"
            raise Refused(RejectCode.MISSING_FIELD, f"{pointer}/{name}", found)
        fields[name] = value
    return fields


def _unknown(event: dict[str, Any], rules: _Rules) -> int:
    return sum(name not in rules for name in event) - 1  # `type` is known and has no rule


def _lines(type_name: str, fields: dict[str, Any]) -> tuple[list[str], list[int], int]:
    """SKUs, their quantities and the count of unknown fields in the lines."""
    amount = "delta" if type_name == "adjustment" else "quantity"
    if fields["lines"] is not None:
        for name in ("sku", amount):
            if fields[name] is not None:
                detail = f"must be left out when there are lines: give sku and {amount}, or lines"
                raise Refused(RejectCode.SKU_OR_LINES, f"/{name}", detail)
        lines, unknown = fields["lines"]
        return [line["sku"] for line in lines], [line[amount] for line in lines], unknown
    for name in ("sku", amount):
        if fields[name] is None:
            detail = f"must be there: give sku and {amount}, or lines"
            raise Refused(RejectCode.MISSING_FIELD, f"/{name}", detail)
    return [fields["sku"]], [fields[amount]], 0


def _check_between(type_name: str, fields: dict[str, Any], skus: list[str]) -> None:
    if "from" in fields and fields["from"] == fields["to"]:
        detail = f"must be another location than from, both are {_shown(fields['to'])}"
        raise Refused(RejectCode.SAME_LOCATION, "/to", detail)
    if type_name == "count" and len(set(skus)) != len(skus):
        first: dict[str, int] = {}
        for index, sku in enumerate(skus):
            if first.setdefault(sku, index) != index:
                detail = f"must be counted once, {_shown(sku)} is in line {first[sku]} already"
                raise Refused(RejectCode.DUPLICATE_SKU_IN_COUNT, f"/lines/{index}/sku", detail)


# -- rules of one field, read off the structs ---------------------------------------------------

_Rules = dict[str, tuple[Rule, bool]]


def _text_rule(info: inspect.StrType, *, printable: bool) -> Rule:
    longest = info.max_length or 0

    def rule(value: object, pointer: str) -> str:
        if not isinstance(value, str):
            raise Refused(RejectCode.WRONG_TYPE, pointer, f"must be a string, was {_kind(value)}")
        if not value:
            raise Refused(RejectCode.EMPTY_ID, pointer, f"must have 1 to {longest} characters")
        if len(value) > longest:
            detail = f"must have at most {longest} characters, has {len(value):,}"
            raise Refused(RejectCode.TOO_LONG, pointer, detail)
        if printable and not value.isprintable():
            character = next(one for one in value if not one.isprintable())
            detail = f"must have printable characters only, has U+{ord(character):04X}"
            raise Refused(RejectCode.NOT_PRINTABLE, pointer, detail)
        return value

    return rule


def _integer_rule(info: inspect.IntType, *, nonzero: bool) -> Rule:
    lowest, highest = info.ge or 0, info.le or 0

    def rule(value: object, pointer: str) -> int:
        if type(value) is not int:
            found = value if isinstance(value, float) else _kind(value)
            raise Refused(RejectCode.WRONG_TYPE, pointer, f"must be an integer, was {found}")
        if not lowest <= value <= highest:
            detail = f"must be from {lowest:,} to {highest:,}, was {_shown(value)}"
            raise Refused(RejectCode.OUT_OF_RANGE, pointer, detail)
        if nonzero and value == 0:
            raise Refused(RejectCode.OUT_OF_RANGE, pointer, "must not be 0")
        return value

    return rule


def _calendar_rule(parse: Callable[[str], int], code: RejectCode, format_name: str) -> Rule:
    def rule(value: object, pointer: str) -> int:
        if not isinstance(value, str):
            detail = f"must be a string, {format_name}, was {_kind(value)}"
            raise Refused(RejectCode.WRONG_TYPE, pointer, detail)
        try:
            return parse(value)
        except ValueError as error:
            raise Refused(code, pointer, f"{error}, was {_shown(value)}") from None

    return rule


def _choice_rule(values: Sequence[Any]) -> Rule:
    listed = " or ".join(filter(None, [", ".join(values[:-1]), values[-1]]))

    def rule(value: object, pointer: str) -> Any:
        if not isinstance(value, str):
            raise Refused(RejectCode.WRONG_TYPE, pointer, f"must be a string, was {_kind(value)}")
        if value not in values:
            detail = f"must be {listed}, was {_shown(value)}"
            raise Refused(RejectCode.UNKNOWN_VALUE, pointer, detail)
        return value

    return rule


def _object_rule(value: object, pointer: str) -> object:
    if not isinstance(value, dict):
        raise Refused(RejectCode.WRONG_TYPE, pointer, f"must be an object, was {_kind(value)}")
    return value


def _lines_rule(info: inspect.ListType) -> Rule:
    if not isinstance(info.item_type, inspect.StructType):
        raise TypeError("Invariant: lines are structs")
    rules = _rules_of(info.item_type)

    def rule(value: object, pointer: str) -> tuple[list[dict[str, Any]], int]:
        if not isinstance(value, list):
            raise Refused(RejectCode.WRONG_TYPE, pointer, f"must be an array, was {_kind(value)}")
        if not 1 <= len(value) <= LINE_COUNT_MAX:
            detail = f"must have 1 to {LINE_COUNT_MAX:,} lines, has {len(value):,}"
            raise Refused(RejectCode.LINE_COUNT, pointer, detail)
        lines = [_line(line, rules, f"{pointer}/{index}") for index, line in enumerate(value)]
        unknown = sum(len(line.keys() - rules.keys()) for line in value)
        return lines, unknown

    return rule


def _line(line: object, rules: _Rules, pointer: str) -> dict[str, Any]:
    if not isinstance(line, dict):
        raise Refused(RejectCode.WRONG_TYPE, pointer, f"must be an object, was {_kind(line)}")
    return _fields(line, rules, pointer)


def _rule_of(info: inspect.Type) -> Rule:  # noqa: PLR0911, one return a kind
    extra: dict[str, Any] = {}
    if isinstance(info, inspect.UnionType):
        (info,) = (one for one in info.types if not isinstance(one, inspect.NoneType))
    if isinstance(info, inspect.Metadata):
        extra = info.extra or {}
        info = info.type
    match info:
        case inspect.StrType():
            return _text_rule(info, printable=extra.get("printable", False))
        case inspect.IntType():
            return _integer_rule(info, nonzero=extra.get("nonzero", False))
        case inspect.DateTimeType():
            return _calendar_rule(parse_time, RejectCode.BAD_TIME, "RFC 3339")
        case inspect.DateType():
            return _calendar_rule(parse_day, RejectCode.BAD_DATE, "YYYY-MM-DD")
        case inspect.LiteralType():
            return _choice_rule(info.values)
        case inspect.DictType():
            return _object_rule
        case inspect.ListType():
            return _lines_rule(info)
    raise TypeError(f"Invariant: no event has a field of {info}")


def _rules_of(info: inspect.StructType) -> _Rules:
    return {field.encode_name: (_rule_of(field.type), field.required) for field in info.fields}


def _struct_rules(kind: type[msgspec.Struct]) -> _Rules:
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise TypeError("Invariant: an event type is a struct")
    return _rules_of(info)


# -- words ---------------------------------------------------------------------------------------


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "binary")


def _shown(value: str | int) -> str:
    if isinstance(value, int):
        if abs(value) < _SHOWN_NUMBER_MAX:
            return f"{value:,}"
        return "over 10^18" if value > 0 else "below -10^18"
    cut = value if len(value) <= _SHOWN_MAX else f"{value[:_SHOWN_MAX]}..."
    return json.dumps(cut, ensure_ascii=False)


_EVENT_RULES: Final = {name: _struct_rules(kind) for name, kind in EVENT_STRUCTS.items()}
_LEDGER_RULES: Final = _struct_rules(LedgerFields)
