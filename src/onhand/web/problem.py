"""Problems: every error answer over HTTP, as RFC 9457 ``application/problem+json``.

The codes are an interface: add to them freely, rename or drop none.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from onhand.errors import FieldError, InvalidInput, OnhandError
from onhand.logging import get_logger
from onhand.orders.refusal import Refusal
from onhand.web.reply import Reply

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:onhand:problem:"
RETRY_AFTER_S: Final = 1
PASSING: Final = frozenset({429, 503})
"""Statuses that tell a caller to try again; every answer of theirs says when."""

log = get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class ProblemCode(StrEnum):
    """What went wrong, for programs."""

    MALFORMED_JSON = "malformed_json"
    INVALID_REQUEST = "invalid_request"
    NOT_AN_EVENT = "not_an_event"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    WRONG_CHANNEL = "wrong_channel"
    WRONG_LOCATION = "wrong_location"
    WRONG_PICKUP_CODE = "wrong_pickup_code"
    WRONG_CUSTOMER = "wrong_customer"
    OVERRIDE_FORBIDDEN = "override_forbidden"
    NOT_FOUND = "not_found"
    UNKNOWN_SKU = "unknown_sku"
    UNKNOWN_LOCATION = "unknown_location"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_POSTAL_CODE = "unknown_postal_code"
    UNKNOWN_HOLD = "unknown_hold"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_TASK = "unknown_task"
    UNKNOWN_RETURN = "unknown_return"
    UNKNOWN_RECEIPT = "unknown_receipt"
    UNKNOWN_LINE = "unknown_line"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INSUFFICIENT_STOCK = "insufficient_stock"
    HOLD_EXPIRED = "hold_expired"
    HOLD_CLOSED = "hold_closed"
    HOLD_MISMATCH = "hold_mismatch"
    ORDER_EXISTS = "order_exists"
    LOCATION_DISABLED = "location_disabled"
    PICKUP_UNAVAILABLE = "pickup_unavailable"
    SHIPPING_UNAVAILABLE = "shipping_unavailable"
    WRONG_STATE = "wrong_state"
    QUANTITY_EXCEEDED = "quantity_exceeded"
    RETURN_WINDOW_OVER = "return_window_over"
    RETURN_NOT_ALLOWED = "return_not_allowed"
    TOO_MANY_OPEN = "too_many_open"
    BODY_TOO_LARGE = "body_too_large"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    RATE_LIMITED = "rate_limited"
    INTERNAL_ERROR = "internal_error"
    SUPPLY_UNAVAILABLE = "supply_unavailable"
    SUPPLY_STALE = "supply_stale"
    WRITER_UNAVAILABLE = "writer_unavailable"
    WRITER_FENCED = "writer_fenced"
    TABLE_FULL = "table_full"
    TABLE_UNAVAILABLE = "table_unavailable"
    LOG_UNAVAILABLE = "log_unavailable"
    LOG_FULL = "log_full"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    TOO_MANY_STREAMS = "too_many_streams"
    NOT_YET_VISIBLE = "not_yet_visible"


class ProblemKind(msgspec.Struct, frozen=True):
    """What one code always says."""

    status: int
    title: str
    meaning: str


KINDS: Final[dict[ProblemCode, ProblemKind]] = {
    ProblemCode.MALFORMED_JSON: ProblemKind(
        400, "The body is not JSON", "Send JSON (RFC 8259) in UTF-8."
    ),
    ProblemCode.INVALID_REQUEST: ProblemKind(
        400,
        "The request is not valid",
        "`errors` names each field, header or parameter and the rule that it breaks.",
    ),
    ProblemCode.NOT_AN_EVENT: ProblemKind(
        400,
        "The body is no event",
        "Send one JSON object, an array of them, or one a line as `application/x-ndjson`.",
    ),
    ProblemCode.UNAUTHENTICATED: ProblemKind(
        401,
        "A token is needed",
        "Send `Authorization: Bearer TOKEN` with a token of `onhand token create`.",
    ),
    ProblemCode.FORBIDDEN: ProblemKind(
        403, "The token's role does not allow this", "Use a token of the role that `detail` names."
    ),
    ProblemCode.WRONG_CHANNEL: ProblemKind(
        403, "The token may not order on this channel", "An associate orders on channel `store`."
    ),
    ProblemCode.WRONG_LOCATION: ProblemKind(
        403,
        "The token is not bound to the location",
        "An associate works at the locations of the token; make another token for others.",
    ),
    ProblemCode.WRONG_PICKUP_CODE: ProblemKind(
        403, "The pickup code is wrong", "Nothing was handed over; ask the customer for the code."
    ),
    ProblemCode.WRONG_CUSTOMER: ProblemKind(
        403, "It is another customer's", "The order or receipt was not bought by who asks."
    ),
    ProblemCode.OVERRIDE_FORBIDDEN: ProblemKind(
        403,
        "The role may not set rules aside",
        "The return policy's `override_roles` names those that may.",
    ),
    ProblemCode.NOT_FOUND: ProblemKind(
        404, "There is nothing at this path", "`GET /openapi.json` lists every path."
    ),
    ProblemCode.UNKNOWN_SKU: ProblemKind(
        404, "The SKU is not known", "No event and no set-up has named it yet."
    ),
    ProblemCode.UNKNOWN_LOCATION: ProblemKind(
        404, "The location is not known", "No event and no set-up has named it yet."
    ),
    ProblemCode.UNKNOWN_GROUP: ProblemKind(
        404, "The group is not known", "No location is set up to be in it."
    ),
    ProblemCode.UNKNOWN_POSTAL_CODE: ProblemKind(
        404,
        "The postal code is not known",
        "Send `latitude` and `longitude`, or set up a location with this postal code.",
    ),
    ProblemCode.UNKNOWN_HOLD: ProblemKind(
        404, "There is no such hold", "Holds that ended are forgotten after a while."
    ),
    ProblemCode.UNKNOWN_ORDER: ProblemKind(
        404, "There is no such order", "No order was placed under this id."
    ),
    ProblemCode.UNKNOWN_TASK: ProblemKind(
        404, "There is no such task", "An order lists the ids of its tasks."
    ),
    ProblemCode.UNKNOWN_RETURN: ProblemKind(
        404, "There is no such return", "An order lists the ids of its returns."
    ),
    ProblemCode.UNKNOWN_RECEIPT: ProblemKind(
        404, "There is no such receipt", "No purchase is known by what was sent."
    ),
    ProblemCode.UNKNOWN_LINE: ProblemKind(
        404,
        "There is no such line",
        "The order, task, return or receipt has no line with what was sent.",
    ),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(
        405, "The path does not take this method", "The header `Allow` lists those it takes."
    ),
    ProblemCode.INSUFFICIENT_STOCK: ProblemKind(
        409,
        "There is not enough to promise",
        "`lines` says of each line that lacks stock what is wanted and available; nothing is held.",
    ),
    ProblemCode.HOLD_EXPIRED: ProblemKind(
        409, "The hold has expired", "Its units are free again; place another hold."
    ),
    ProblemCode.HOLD_CLOSED: ProblemKind(
        409, "The hold is closed", "It was released, or has turned into an order."
    ),
    ProblemCode.HOLD_MISMATCH: ProblemKind(
        409,
        "The order does not fit its hold",
        "It may take a part of what is held, of the same SKUs and where they are held.",
    ),
    ProblemCode.ORDER_EXISTS: ProblemKind(
        409, "The order's id is taken", "`GET /v1/orders/{id}` shows the order that has it."
    ),
    ProblemCode.LOCATION_DISABLED: ProblemKind(
        409, "The location is closed to orders", "Its set-up says `enabled: false`."
    ),
    ProblemCode.PICKUP_UNAVAILABLE: ProblemKind(
        409, "Nothing can be collected at the location", "Its set-up says `pickup: false`."
    ),
    ProblemCode.SHIPPING_UNAVAILABLE: ProblemKind(
        409, "No location ships", "No enabled location is set up with `ship: true`."
    ),
    ProblemCode.WRONG_STATE: ProblemKind(
        409,
        "The step is not possible now",
        "The task, order or return is past it, or not there yet; read it again.",
    ),
    ProblemCode.QUANTITY_EXCEEDED: ProblemKind(
        409, "There are not so many units left", "`errors` names the line that asks for too many."
    ),
    ProblemCode.RETURN_WINDOW_OVER: ProblemKind(
        409,
        "The units came back too late",
        "`detail` says until when; who may can set it aside with `override`.",
    ),
    ProblemCode.RETURN_NOT_ALLOWED: ProblemKind(
        409,
        "The return policy does not allow it",
        "`errors` names each line and rule; who may can set them aside with `override`.",
    ),
    ProblemCode.TOO_MANY_OPEN: ProblemKind(
        409,
        "Too many holds, orders and returns are open",
        "Let some end, or raise the setting `open_reservations_max`.",
    ),
    ProblemCode.BODY_TOO_LARGE: ProblemKind(
        413, "The body is too large", "Send less in one request; the default limit is 1 MiB."
    ),
    ProblemCode.IDEMPOTENCY_CONFLICT: ProblemKind(
        422,
        "The key was used for something else",
        "An `Idempotency-Key` stands for one body; take a new key for another body.",
    ),
    ProblemCode.RATE_LIMITED: ProblemKind(
        429,
        "The token asks too often",
        "Wait as long as `Retry-After` says; the setting `rate_limit_per_s` has the limit.",
    ),
    ProblemCode.INTERNAL_ERROR: ProblemKind(
        500, "Something failed that should not", "The server's log has the details; report them."
    ),
    ProblemCode.SUPPLY_UNAVAILABLE: ProblemKind(
        503,
        "The stock table is not there",
        "Ingest has not published a table yet, or has been stopped and its table freed.",
    ),
    ProblemCode.SUPPLY_STALE: ProblemKind(
        503,
        "The stock numbers are too old to promise by",
        "Ingest is further behind than `max_supply_age_ms`; reads go on and say their age.",
    ),
    ProblemCode.WRITER_UNAVAILABLE: ProblemKind(
        503,
        "Orders cannot be decided at the moment",
        "The order writer is starting, stopping, or cannot reach what it needs; send the same "
        "again with the same `Idempotency-Key`.",
    ),
    ProblemCode.WRITER_FENCED: ProblemKind(
        503, "Another server decides about orders now", "Send the same again to that server."
    ),
    ProblemCode.TABLE_FULL: ProblemKind(
        503,
        "The table of what is promised is full",
        "Raise the setting `table_bytes_max`; nothing was changed.",
    ),
    ProblemCode.TABLE_UNAVAILABLE: ProblemKind(
        503,
        "The shared memory of the tables is full",
        "Make room there, or choose another place with `table_dir`; nothing was changed.",
    ),
    ProblemCode.LOG_UNAVAILABLE: ProblemKind(
        503, "The event log cannot be reached", "Send the same again; events carry ids."
    ),
    ProblemCode.LOG_FULL: ProblemKind(
        503, "The event log has no room", "Send the same again once there is room."
    ),
    ProblemCode.LEDGER_UNAVAILABLE: ProblemKind(
        503, "The ledger's database cannot be reached", "Send the same again."
    ),
    ProblemCode.TOO_MANY_STREAMS: ProblemKind(
        503, "Too many clients follow the stream", "Connect again later, or to another server."
    ),
    ProblemCode.NOT_YET_VISIBLE: ProblemKind(
        504,
        "The events are durable and not yet visible",
        "Nothing is lost: they will be applied. Look at `GET /readyz` for what is behind.",
    ),
}
"""Every code's status and words, in order of status."""


class Problem(msgspec.Struct, frozen=True):
    """The body of an error answer."""

    type: str
    title: str
    status: int
    detail: str
    code: ProblemCode
    errors: Sequence[FieldError] | msgspec.UnsetType = msgspec.UNSET


class ProblemError(Exception):
    """Ends a request with a problem.

    Parameters
    ----------
    detail
        What happened this time, for people.
    errors
        The fields at fault.
    headers
        More headers of the answer.
    retry_after_s
        When to try again, where that helps.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Sequence[tuple[str, str]] = (),
        retry_after_s: int = RETRY_AFTER_S,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The answer's HTTP status."""
        return KINDS[self.code].status

    def problem(self) -> Problem:
        """Write it as the body says it."""
        kind = KINDS[self.code]
        return Problem(
            type=TYPE_PREFIX + self.code,
            title=kind.title,
            status=kind.status,
            detail=self.detail,
            code=self.code,
            errors=self.errors or msgspec.UNSET,
        )

    def reply(self) -> Reply:
        """Write it as an answer."""
        headers = [("content-type", MEDIA_TYPE), *self.headers]
        if self.status in PASSING:
            headers.append(("retry-after", str(self.retry_after_s)))
        return Reply(self.status, _encode(self.problem()), headers)


def problem_of(error: Exception) -> ProblemError:
    """Turn any failure into the problem that a caller may see.

    What nobody foresaw is logged with its traceback and told without details.
    """
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, InvalidInput):
        return ProblemError(ProblemCode.INVALID_REQUEST, error.what, error.errors)
    if isinstance(error, Refusal):
        return ProblemError(ProblemCode(error.refusal_code), error.what, error.errors)
    if isinstance(error, OnhandError) and error.code in _FORESEEN:
        log.warning("request_failed", code=error.code, error=str(error))
        return ProblemError(_FORESEEN[error.code], str(error))
    log.error("request_failed", exc_info=error)
    return ProblemError(
        ProblemCode.INTERNAL_ERROR, "This is a fault of onhand; its log has the details."
    )


def refusal_reply(document: bytes) -> Reply:
    """Write the order writer's refusal as a problem: what it says, after what its code says. Hot.

    Parameters
    ----------
    document
        JSON ``{"code", "detail", "errors": [...]}`` with more members by code.
    """
    status, begin, headers = _BEGINS[_decode_code(document).code]
    return Reply(status, begin + document[1:].replace(_NO_ERRORS, b"", 1), headers)


def invalid_parameter(name: str, rule: str) -> ProblemError:
    """Refuse a query parameter; the pointer is its name, as of an object of parameters."""
    return ProblemError(
        ProblemCode.INVALID_REQUEST, f"{name} {rule}", [FieldError(f"/{name}", rule)]
    )


def decode_json(body: bytes) -> object:
    """Read a body as JSON.

    Raises
    ------
    ProblemError
        ``malformed_json``, saying where.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(ProblemCode.MALFORMED_JSON, str(error) or "nested too deep") from error


class _Coded(msgspec.Struct):
    code: ProblemCode


def _begin(code: ProblemCode) -> tuple[int, bytes, list[tuple[str, str]]]:
    kind = KINDS[code]
    said = {"type": TYPE_PREFIX + code, "title": kind.title, "status": kind.status}
    return kind.status, _encode(said)[:-1] + b",", ProblemError(code, "").reply().headers


_BEGINS: Final = {code: _begin(code) for code in KINDS}
_NO_ERRORS: Final = b',"errors":[]'
_decode_code: Final = msgspec.json.Decoder(_Coded).decode

_FORESEEN: Final = {
    "log_unavailable": ProblemCode.LOG_UNAVAILABLE,
    "log_full": ProblemCode.LOG_FULL,
    "record_too_large": ProblemCode.BODY_TOO_LARGE,
    "ledger_unavailable": ProblemCode.LEDGER_UNAVAILABLE,
    "ledger_too_new": ProblemCode.LEDGER_UNAVAILABLE,
    "table_unavailable": ProblemCode.SUPPLY_UNAVAILABLE,
    "writer_fenced": ProblemCode.WRITER_FENCED,
}
