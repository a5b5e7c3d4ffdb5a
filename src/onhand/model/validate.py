"""Build structs from outside data and name every field that breaks a rule, not just the first."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from operator import itemgetter
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from onhand.errors import FieldError, InvalidInput

Built = TypeVar("Built", bound=msgspec.Struct)

Text64 = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A SKU, a location, a group: 1-64 printable characters; :func:`printable` judges the second."""

PATTERN_WORDS: Final[dict[str, str]] = {}
"""What a pattern asks for, in words; a module that states a pattern registers it here."""

_WHERE: Final = re.compile(r"(?P<rule>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_TYPE_WORDS: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_TYPE_WORD: Final = re.compile(r"\b(str|int|float|bool)\b")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def build(kind: type[Built], value: object, *, pointer: str = "", what: str = "") -> Built:
    """Convert outside data to a struct.

    Parameters
    ----------
    kind
        A struct type that refuses unknown fields.
    value
        What JSON, TOML or a table row gave: it must be an object.
    pointer
        JSON pointer of ``value`` in the whole document, put before every error's own.
    what
        The first words of the error, by default "not a valid <kind>".

    Raises
    ------
    InvalidInput
        Naming each unknown, missing or wrong field with its rule.
    """
    what = what or f"not a valid {kind.__name__.lower()}"
    if not isinstance(value, Mapping):
        raise InvalidInput(what, (FieldError(pointer, "must be an object"),))
    fields = _fields(kind)
    errors: list[FieldError] = []
    known: dict[str, Any] = {}
    for name, item in value.items():
        place = f"{pointer}/{escape(str(name))}"
        if name not in fields:
            errors.append(FieldError(place, "is no known field"))
            continue
        try:
            known[name] = _convert(fields[name].type, item, place)
        except InvalidInput as error:
            errors += error.errors
    for name, field in fields.items():
        if field.required and name not in value:
            errors.append(FieldError(f"{pointer}/{name}", "is required"))
    if errors:
        raise InvalidInput(what, tuple(sorted(errors)))
    try:
        return kind(**known)
    except InvalidInput as error:
        raise InvalidInput(what, prefixed(error.errors, pointer)) from error


def pattern(regex: str, words: str) -> msgspec.Meta:
    """State a pattern that texts must match, and how errors put it."""
    PATTERN_WORDS[regex] = words
    return msgspec.Meta(pattern=regex)


def check(what: str, errors: list[FieldError]) -> None:
    """Raise :class:`~onhand.errors.InvalidInput` when there are errors."""
    if errors:
        raise InvalidInput(what, tuple(sorted(errors)))


def prefixed(errors: tuple[FieldError, ...], pointer: str) -> tuple[FieldError, ...]:
    """Move errors of an inner value to its place in the whole document."""
    return tuple(FieldError(pointer + error.pointer, error.detail) for error in errors)


def printable(pointer: str, text: str | None) -> list[FieldError]:
    """Judge an id beyond its length: no control, separator or unassigned characters."""
    if text is None or text.isprintable():
        return []
    return [FieldError(pointer, "must hold printable characters only")]


def escape(step: str) -> str:
    """Escape one step of a JSON pointer (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")


def field_error(error: msgspec.ValidationError, pointer: str) -> FieldError:
    """Word a decoding error as a field and its rule, in terms of JSON."""
    match = _WHERE.fullmatch(str(error))
    if match is None:
        return FieldError(pointer, str(error))
    steps = _STEP.findall(match["path"] or "")
    inner = "".join("/" + escape(name or index) for name, index in steps if index != "...")
    return FieldError(pointer + inner, worded(match["rule"]))


def worded(rule: str) -> str:
    """Put a decoder's complaint in the words of JSON: ``must be integer >= 1``."""
    for regex, words in PATTERN_WORDS.items():
        if regex in rule:
            return f"must be {words}"
    rule = rule.replace("Expected", "must be", 1).replace("`", "").replace(" | ", " or ")
    return _TYPE_WORD.sub(lambda match: _TYPE_WORDS[match[0]], rule)


def choices(kind: object) -> tuple[str, ...]:
    """List the values of a ``Literal``, none of another type."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) is Literal else ()


def _convert(kind: Any, item: object, place: str) -> Any:
    """Convert a field; structs within it are built, so that each names every field of its own."""
    inner, is_many, count_max = _inner(kind)
    if inner is not None and isinstance(item, Mapping) and not is_many:
        return build(inner, item, pointer=place)
    if inner is not None and isinstance(item, list) and is_many and len(item) <= count_max:
        _build_each(inner, item, place)
    try:
        return msgspec.convert(item, kind)
    except msgspec.ValidationError as error:
        # A choice is best explained by listing it; msgspec names only what it refused.
        listed = ", ".join(choices(kind))
        one_of = FieldError(place, f"must be one of {listed}")
        raise InvalidInput(place, (one_of if listed else field_error(error, place),)) from error
    except InvalidInput as error:
        raise InvalidInput(place, prefixed(error.errors, place)) from error


def _build_each(kind: type[msgspec.Struct], items: list[Any], place: str) -> None:
    errors: list[FieldError] = []
    for index, item in enumerate(items):
        try:
            build(kind, item, pointer=f"{place}/{index}")
        except InvalidInput as error:
            errors += error.errors
    check(place, errors)


@functools.cache
def _inner(kind: Any) -> tuple[type[msgspec.Struct] | None, bool, int]:
    """Find the struct that a field holds: alone, or so many of it. None when it holds none."""
    count_max = 0
    if get_origin(kind) is Annotated:
        metas = [each for each in kind.__metadata__ if isinstance(each, msgspec.Meta)]
        count_max = next((each.max_length for each in metas if each.max_length), 0)
        kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind, False, 0
    parts = get_args(kind)
    if get_origin(kind) in (tuple, list):
        return _inner(parts[0])[0], True, count_max
    if get_origin(kind) in (Union, UnionType):
        return next(filter(itemgetter(0), map(_inner, parts)), (None, False, 0))
    return None, False, 0


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}
