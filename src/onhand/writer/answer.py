"""What a command is answered: its document, or why it was not carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from onhand.orders.refusal import Refusal

CONFLICT: Final = "idempotency_conflict"

FAILURES: Final[dict[str, str]] = {
    "supply_stale": "The stock numbers are too old to promise by",
    "supply_unavailable": "There are no stock numbers to promise by yet",
    "ledger_unavailable": "The ledger's database cannot be reached, or does not answer",
    "writer_unavailable": "The order writer is starting, stopping, or has too much to do",
    "writer_fenced": "Another order writer has taken over",
    "table_full": "The table of what is promised has reached its configured size",
    "table_unavailable": "The shared memory of the tables is full",
    "internal_error": "Something failed that should not",
}
"""Why a command was not decided: the server's fault, so sending it again is right."""

_encode = msgspec.json.Encoder().encode


class Answer(Struct, frozen=True, gc=False):
    """What a command is answered.

    A refused one's ``document`` is JSON ``{"code", "detail", "errors": [{"pointer", "detail"}]}``
    and more members by code; any other is what was made or changed. A ``failure`` is refused for
    no fault of the command's.
    """

    refused: bool
    document: bytes
    failure: bool = False


def refused(refusal: Refusal) -> Answer:
    """Write a refusal as an answer."""
    return _answer(
        refusal.refusal_code,
        refusal.what,
        errors=[{"pointer": error.pointer, "detail": error.detail} for error in refusal.errors],
        **refusal.more,
    )


def failed(code: str, detail: str) -> Answer:
    """Answer a command that was not decided; ``code`` is one of :data:`FAILURES`."""
    return Answer(refused=True, document=_document(code, detail, errors=[]), failure=True)


def conflict() -> Answer:
    """Answer a command whose key was used for another one."""
    detail = "another request was sent under this Idempotency-Key"
    return _answer(CONFLICT, detail, errors=[])


def code_of(answer: Answer) -> str:
    """Read a refused answer's code."""
    return msgspec.json.decode(answer.document, type=_Coded).code


class _Coded(Struct):
    code: str


def _answer(code: str, detail: str, **more: Any) -> Answer:
    return Answer(refused=True, document=_document(code, detail, **more))


def _document(code: str, detail: str, **more: Any) -> bytes:
    return _encode({"code": code, "detail": detail, **more})
