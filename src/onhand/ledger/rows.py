"""What the order store takes and gives: rows, the commit that carries them, and pages.

The fields of a row are the columns of its table, in their order: a row is bound as it is. Answers
and events are packed instead, all of a commit into one row.
``document`` is JSON in UTF-8, written and read by others; the store never looks inside.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, NewType, TypeVar

import msgspec

ORDER_STATUSES: Final = ("open", "partially_fulfilled", "fulfilled", "cancelled")
RETURN_STATUSES: Final = (
    "authorised",
    "partially_received",
    "received",
    "closed",
    "cancelled",
)
TASK_STATUSES: Final = ("open", "picked", "packed", "ready", "done", "rejected", "cancelled")

Epoch = NewType("Epoch", int)
"""The term of one order writer; a higher one fences every lower one."""


class HoldRow(NamedTuple):
    """A hold. ``status`` is ``active`` as long as something of it is reserved."""

    id: str
    status: str
    expires_us: int
    document: bytes


class OrderRow(NamedTuple):
    """An order.

    ``is_open`` while something of it is reserved, backordered, to be done or to come back.
    """

    id: str
    status: str
    customer: str | None
    created_us: int
    updated_us: int
    is_open: bool
    document: bytes


class TaskRow(NamedTuple):
    """Work of one order at one location; what has to be done stands in the order's document."""

    id: str
    order_id: str
    location: str
    status: str
    due_us: int
    created_us: int


class ReturnRow(NamedTuple):
    """A return, of an order's units or of those on a till's receipt.

    ``is_open`` while units of it are awaited, or its exchange may still be cancelled.
    """

    id: str
    status: str
    order_id: str | None
    receipt: str | None
    created_us: int
    is_open: bool
    document: bytes


class AnswerRow(NamedTuple):
    """What a command was answered, for whoever sends it again; or that a claim is decided.

    ``key`` is a hash of 16 to 32 bytes, ``body_sha`` one of the body that the answer is for.
    The answers of a commit are stored in one row.
    """

    key: bytes
    body_sha: bytes
    refused: bool
    document: bytes
    created_us: int


class LedgerEventRow(NamedTuple):
    """One event of ``stock.ledger``, with what stays reserved until supply has applied it.

    ``reserved`` is JSON ``[[sku, location, quantity], ...]``.
    """

    sequence: int
    document: bytes
    reserved: bytes
    created_us: int


class EventRow(NamedTuple):
    """One record for ``orders.events``: its key and a CloudEvent as JSON."""

    key: str
    value: bytes


class PendingEvent(NamedTuple):
    """A record for ``orders.events`` under its number, which rises by 1 without gaps."""

    number: int
    key: str
    value: bytes


class Commit(msgspec.Struct, kw_only=True):
    """Everything that one batch of decisions changes; written whole or not at all.

    Of several rows with one key the last counts. ``ledger_events`` continue the ledger's
    sequence without a gap. ``claim_offsets`` gives the next offset of each partition of
    ``stock.claims``. The two ``published`` positions, where above 0, say up to where the publisher
    has events in the log; they never go back.
    """

    holds: list[HoldRow] = []
    orders: list[OrderRow] = []
    tasks: list[TaskRow] = []
    returns: list[ReturnRow] = []
    answers: list[AnswerRow] = []
    ledger_events: list[LedgerEventRow] = []
    events: list[EventRow] = []
    claim_offsets: dict[int, int] = {}
    events_published: int = 0
    ledger_published: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.holds
            or self.orders
            or self.tasks
            or self.returns
            or self.answers
            or self.ledger_events
            or self.events
            or self.claim_offsets
            or self.events_published
            or self.ledger_published
        )


Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Some rows of a list, and the cursor that the next ones follow; None at the end."""

    rows: list[Row]
    next: str | None


class TaskPage(NamedTuple):
    """Some tasks, the documents of their orders by order id, and the cursor of the next ones."""

    tasks: list[TaskRow]
    documents: dict[str, bytes]
    next: str | None
