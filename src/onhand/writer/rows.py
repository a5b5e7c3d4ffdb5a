"""From what a batch has changed to the rows of its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from onhand.ledger.rows import (
    Commit,
    EventRow,
    HoldRow,
    LedgerEventRow,
    OrderRow,
    ReturnRow,
    TaskRow,
)
from onhand.orders.book import encode

if TYPE_CHECKING:
    from onhand.ledger.rows import AnswerRow
    from onhand.model.orders import Order
    from onhand.model.returns import Return
    from onhand.orders.book import Changed, Handover

_encode = msgspec.json.Encoder().encode


def commit_of(changed: Changed, answers: list[AnswerRow], now_us: int) -> Commit:
    """Gather everything that one batch has to write."""
    return Commit(
        holds=[
            HoldRow(each.id, each.status, each.expires_us, encode(each)) for each in changed.holds
        ],
        orders=[order_row(each) for each in changed.orders],
        tasks=[row for order in changed.orders for row in task_rows(order)],
        returns=[return_row(each) for each in changed.returns],
        answers=answers,
        ledger_events=[ledger_row(each, now_us) for each in changed.handovers],
        events=[EventRow(each.key, each.value) for each in changed.told],
    )


def order_row(order: Order) -> OrderRow:
    """Lay out an order as the ledger keeps it."""
    return OrderRow(
        id=order.id,
        status=order.status,
        customer=order.customer.id if order.customer is not None else None,
        created_us=order.created_us,
        updated_us=order.updated_us,
        is_open=order.is_kept(),
        document=encode(order),
    )


def return_row(return_: Return) -> ReturnRow:
    """Lay out a return as the ledger keeps it."""
    return ReturnRow(
        id=return_.id,
        status=return_.status,
        order_id=return_.order_id,
        receipt=return_.receipt,
        created_us=return_.created_us,
        is_open=return_.is_kept(),
        document=encode(return_),
    )


def task_rows(order: Order) -> list[TaskRow]:
    """Lay out an order's tasks as lists of work find them."""
    return [
        TaskRow(
            task.id, order.id, task.location, task.status, task.due_us, created_us=task.created_us
        )
        for task in order.tasks
    ]


def ledger_row(handover: Handover, now_us: int) -> LedgerEventRow:
    """Lay out a movement with what stays reserved until supply has applied it."""
    return LedgerEventRow(handover.sequence, handover.event, _encode(handover.reserved), now_us)
