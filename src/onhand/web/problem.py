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
from onhand.web.reply import Reply

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:onhand:problem:"
RETRY_AFTER_S: Final = 1

log = get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class ProblemCode(StrEnum):
    """What went wrong, for programs."""

    MALFORMED_JSON = "malformed_json"
    INVALID_REQUEST = "invalid_request"
    NOT_AN_EVENT = "not_an_event"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    UNKNOWN_SKU = "unknown_sku"
    UNKNOWN_LOCATION = "unknown_location"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_POSTAL_CODE = "unknown_postal_code"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    INTERNAL_ERROR = "internal_error"
    SUPPLY_UNAVAILABLE = "supply_unavailable"
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
    ProblemCode.METHOD_NOT_ALLOWED: ProblemKind(
        405, "The path does not take this method", "The header `Allow` lists those it takes."
    ),
    ProblemCode.BODY_TOO_LARGE: ProblemKind(
        413, "The body is too large", "Send less in one request; the default limit is 1 MiB."
    ),
    ProblemCode.INTERNAL_ERROR: ProblemKind(
        500, "Something failed that should not", "The server's log has the details; report them."
    ),
    ProblemCode.SUPPLY_UNAVAILABLE: ProblemKind(
        503,
        "The stock table is not there",
        "Ingest has not published a table yet, or has been stopped and its table freed.",
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
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers

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
        if self.status == 503:  # noqa: PLR2004 - Service Unavailable
            headers.append(("retry-after", str(RETRY_AFTER_S)))
        return Reply(self.status, _encode(self.problem()), headers)


def problem_of(error: Exception) -> ProblemError:
    """Turn any failure into the problem that a caller may see.

    What nobody foresaw is logged with its traceback and told without details.
    """
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, InvalidInput):
        return ProblemError(ProblemCode.INVALID_REQUEST, error.what, error.errors)
    if isinstance(error, OnhandError) and error.code in _FORESEEN:
        log.warning("request_failed", code=error.code, error=str(error))
        return ProblemError(_FORESEEN[error.code], str(error))
    log.error("request_failed", exc_info=error)
    return ProblemError(
        ProblemCode.INTERNAL_ERROR, "This is a fault of onhand; its log has the details."
    )


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


_FORESEEN: Final = {
    "log_unavailable": ProblemCode.LOG_UNAVAILABLE,
    "log_full": ProblemCode.LOG_FULL,
    "record_too_large": ProblemCode.BODY_TOO_LARGE,
    "ledger_unavailable": ProblemCode.LEDGER_UNAVAILABLE,
    "ledger_too_new": ProblemCode.LEDGER_UNAVAILABLE,
    "table_unavailable": ProblemCode.SUPPLY_UNAVAILABLE,
}
