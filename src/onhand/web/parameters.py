"""Read query parameters into structs, naming every one that is unknown, repeated or wrong."""

from __future__ import annotations

import functools
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, Union, get_args
from urllib.parse import unquote, unquote_plus

import msgspec
from msgspec import Meta, Struct

from onhand.errors import FieldError
from onhand.model.orders import OrderStatus, TaskStatus
from onhand.model.returns import ReturnStatus
from onhand.model.validate import Text64, field_error
from onhand.web.problem import ProblemCode, ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAM_SKUS_MAX: Final = 1_000
LIST_LIMIT_MAX: Final = 1_000
_REPEATABLE: Final = "skus"

Cursor = Annotated[str, Meta(max_length=1_024, description="`next` of the page before.")]

Parameters = TypeVar("Parameters", bound=Struct)


class ReadParameters(Struct, frozen=True):
    """What a single read may ask for."""

    location: Annotated[Text64, Meta(description="One location; not together with `group`.")] | (
        None
    ) = None
    group: Annotated[Text64, Meta(description="A group of locations, by default `all`.")] | None = (
        None
    )
    detail: (
        Annotated[Literal["locations"], Meta(description="Add the numbers of each location.")]
        | None
    ) = None


class NearbyParameters(Struct, frozen=True):
    """Where to look for stores."""

    latitude: Annotated[float, Meta(ge=-90, le=90, description="Degrees north.")] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180, description="Degrees east.")] | None = None
    postal_code: (
        Annotated[str, Meta(min_length=1, max_length=16, description="In place of coordinates.")]
        | None
    ) = None
    country: (
        Annotated[str, Meta(min_length=2, max_length=2, description="Of the postal code.")] | None
    ) = None
    radius_km: (
        Annotated[float, Meta(gt=0, le=20_040, description="No store farther away.")] | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX, description="Stores at most.")] = 20
    pickup: Annotated[bool, Meta(description="Only stores that hand over orders.")] = False


class StreamParameters(Struct, frozen=True):
    """What to follow."""

    skus: Annotated[
        str,
        Meta(
            min_length=1,
            description="SKUs, separated by commas. Given more than once, each is one SKU, "
            "commas and all.",
        ),
    ]
    group: Annotated[Text64, Meta(description="A group of locations.")] = "all"


class ExplainParameters(Struct, frozen=True):
    """Which cell to explain, and from where on."""

    location: Annotated[Text64, Meta(description="The location of the cell.")]
    cursor: Annotated[str, Meta(max_length=32, description="`next` of the page before.")] | (
        None
    ) = None
    promises_cursor: (
        Annotated[str, Meta(max_length=256, description="`promises.next` of the page before.")]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Movements, and promises, at most.")] = 50


class ListParameters(Struct, frozen=True):
    """Which page of a list."""

    cursor: Annotated[str, Meta(max_length=200, description="`next` of the page before.")] | (
        None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX, description="Items at most.")] = 500


class OrderListParameters(Struct, frozen=True):
    """Which orders to list."""

    customer: (
        Annotated[str, Meta(min_length=1, max_length=128, description="Id of who bought.")] | None
    ) = None
    status: Annotated[OrderStatus, Meta(description="Of the order.")] | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX, description="Orders at most.")] = 100


class TaskListParameters(Struct, frozen=True):
    """Which tasks of a location to list."""

    status: Annotated[TaskStatus, Meta(description="Of the task.")] | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX, description="Tasks at most.")] = 100


class ReturnListParameters(Struct, frozen=True):
    """Which returns to list."""

    order_id: (
        Annotated[str, Meta(min_length=1, max_length=128, description="Whose units come back.")]
        | None
    ) = None
    receipt: (
        Annotated[str, Meta(min_length=1, max_length=128, description="Of a purchase at a till.")]
        | None
    ) = None
    status: Annotated[ReturnStatus, Meta(description="Of the return.")] | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX, description="Returns at most.")] = 100


class PublishParameters(Struct, frozen=True):
    """When to answer posted events."""

    wait: (
        Annotated[
            Literal["visible"], Meta(description="Answer once reads see the events, not before.")
        ]
        | None
    ) = None


def parse_parameters(kind: type[Parameters], query_string: str) -> Parameters:
    """Read a query string.

    Raises
    ------
    ProblemError
        ``invalid_request``, naming every parameter at fault.
    """
    given, errors = _split(query_string)
    fields = _fields(kind)
    known: dict[str, Any] = {}
    for name, text in given.items():
        if name not in fields:
            errors.append(FieldError(f"/{name}", "is no known parameter"))
            continue
        try:
            known[name] = msgspec.convert(text, _kind_given(fields[name].type), strict=False)
        except msgspec.ValidationError as error:
            errors.append(_refused(fields[name].type, error, f"/{name}"))
    errors += [
        FieldError(f"/{name}", "is required")
        for name, field in fields.items()
        if field.required and name not in given
    ]
    if errors:
        detail = "; ".join(f"{each.pointer[1:]} {each.detail}" for each in errors)
        raise ProblemError(ProblemCode.INVALID_REQUEST, detail, sorted(errors))
    return kind(**known)


def split_skus(query_string: str) -> list[str]:
    """List the SKUs of ``skus=A,B``, or of ``skus=A&skus=B``, where a comma is part of a SKU.

    Raises
    ------
    ProblemError
        ``invalid_request`` when there are none or too many.
    """
    given = [unquote_plus(value) for name, _, value in _pairs(query_string) if name == _REPEATABLE]
    # Clients quote commas or not as they like, so quoting cannot tell what a comma means.
    listed = given if len(given) > 1 else "".join(given).split(",")
    skus = [sku for sku in dict.fromkeys(listed) if sku]
    rule = None
    if not skus:
        rule = "must name at least one SKU"
    elif len(skus) > STREAM_SKUS_MAX:
        rule = f"must name at most {STREAM_SKUS_MAX:,} SKUs"
    if rule is not None:
        raise ProblemError(ProblemCode.INVALID_REQUEST, f"skus {rule}", [FieldError("/skus", rule)])
    return skus


def _split(query_string: str) -> tuple[dict[str, str], list[FieldError]]:
    given: dict[str, str] = {}
    errors: list[FieldError] = []
    for raw_name, _, raw_value in _pairs(query_string):
        name = unquote_plus(raw_name)
        if name in given and name != _REPEATABLE:
            errors.append(FieldError(f"/{name}", "is given twice"))
        try:
            given[name] = unquote(raw_value.replace("+", " "), errors="strict")
        except UnicodeDecodeError:
            errors.append(FieldError(f"/{name}", "must be UTF-8"))
    return given, errors


def _pairs(query_string: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in query_string.split("&") if part]


def _refused(kind: object, error: msgspec.ValidationError, pointer: str) -> FieldError:
    listed = choices_of(kind)
    if listed:
        return FieldError(pointer, f"must be {' or '.join(listed)}")
    # A parameter is always text.
    rule = field_error(error, pointer).detail.removesuffix(", got string")
    return FieldError(pointer, rule)


@functools.cache
def _kind_given(kind: Any) -> Any:
    """Return what a parameter is once it is given: left out it is None, and `null` is just text."""
    kinds = get_args(kind)
    if NoneType not in kinds:
        return kind
    return Union[tuple(each for each in kinds if each is not NoneType)]  # noqa: UP007 - of a tuple


def choices_of(kind: object) -> list[str]:
    """List what a parameter of a fixed choice may be; nothing for any other."""
    info = msgspec.json.schema(kind)
    options = info.get("anyOf", [info])
    return [str(value) for option in options for value in option.get("enum", []) if value]


@functools.cache
def _fields(kind: type) -> Mapping[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(kind)}
