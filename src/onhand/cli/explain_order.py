"""``onhand explain ORDER``: why each location was chosen, what happened, and what it moved."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import click
import msgspec

from onhand.cli.fetch import fetch
from onhand.cli.tables import print_table
from onhand.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onhand.settings import Settings
    from onhand.web.documents import ExplainedOrder, HistoryDocument, LedgerMovement

ALLOCATION_COLUMNS: Final = ("allocation", "sku", "quantity", "location", "status", "why")
HISTORY_COLUMNS: Final = ("at", "what", "by", "location", "line", "quantity", "reason")
LEDGER_COLUMNS: Final = ("sequence", "at", "type")


def explain_order(
    settings: Settings, order_id: str, *, url: str | None, token: str | None, as_json: bool
) -> None:
    """Show an order, from the ledger here or as a server explains it.

    Raises
    ------
    OnhandError
        There is no such order, or nobody answers.
    """
    from onhand.web.documents import ExplainedOrder  # noqa: PLC0415 - keeps `--help` quick

    if url is not None:
        document = ask(url, token, f"/v1/orders/{quote(order_id, safe='')}/explain")
    else:
        document = _look(settings, order_id)
    if as_json:
        click.echo(document)
    else:
        _print(msgspec.json.decode(document, type=ExplainedOrder))


def ask(url: str, token: str | None, path: str) -> bytes:
    """Ask a server to explain something.

    Raises
    ------
    InvalidInput
        It does not, in its words.
    """
    status, content = fetch(url, path, token)
    if status != http.client.OK:
        problem = msgspec.json.decode(content, type=dict)
        raise InvalidInput(f"{url} answered {status}: {problem.get('detail', '')}".rstrip(". "))
    return content


def _look(settings: Settings, order_id: str) -> bytes:
    """Read the ledger, which needs no server."""
    from onhand.ledger import open_ledger  # noqa: PLC0415
    from onhand.ledger.order_reads import OrderReads  # noqa: PLC0415
    from onhand.web.order_pages import OrderPages  # noqa: PLC0415

    with contextlib.closing(open_ledger(settings)) as ledger:
        return OrderPages(OrderReads(ledger), ledger, settings).explanation(order_id)


def _print(explained: ExplainedOrder) -> None:
    order = explained.order
    click.echo(f"{order.id}: {order.status}, by {order.fulfilment.method}, of {order.created_at}")
    if explained.hold is not None:
        click.echo(f"  from hold {explained.hold.id}")
    for each in explained.refused:
        where = "anything" if each.line == "*" else f"line {each.line}"
        click.echo(f"  {each.location} is not asked again for {where}")
    print_table(
        ALLOCATION_COLUMNS,
        [
            (
                each.id,
                each.sku,
                f"{each.quantity:,}",
                each.location or "",
                each.status,
                "; ".join(each.why),
            )
            for each in explained.allocations
        ],
        empty="Nothing is allocated.",
    )
    print_past(order.history, explained.ledger)


def print_past(history: Iterable[HistoryDocument], ledger: Iterable[LedgerMovement]) -> None:
    """Print what happened to an order or a return, and what that moved."""
    print_table(
        HISTORY_COLUMNS,
        [
            tuple("" if value is None else str(value) for value in msgspec.structs.astuple(each))
            for each in history
        ],
        empty="",
    )
    print_table(
        LEDGER_COLUMNS,
        [(str(each.sequence), each.at, each.type) for each in ledger],
        empty="It has moved no stock that the ledger still tells of.",
    )
