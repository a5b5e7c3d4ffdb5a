"""``onhand explain RETURN``: by which rule each line came back, where it lies, what it moved."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import click
import msgspec

from onhand.cli.explain_order import ask, print_past
from onhand.cli.tables import print_table

if TYPE_CHECKING:
    from onhand.settings import Settings
    from onhand.web.return_documents import (
        DecisionDocument,
        ExchangeDocument,
        ExplainedReturn,
        ReturnLineDocument,
    )

LINE_COLUMNS: Final = ("line", "sku", "quantity", "received", "reason", "lies", "rule")


def explain_return(
    settings: Settings, return_id: str, *, url: str | None, token: str | None, as_json: bool
) -> None:
    """Show a return, from the ledger here or as a server explains it.

    Raises
    ------
    OnhandError
        There is no such return, or nobody answers.
    """
    from onhand.web.return_documents import ExplainedReturn  # noqa: PLC0415 - keeps `--help` quick

    if url is not None:
        document = ask(url, token, f"/v1/returns/{quote(return_id, safe='')}/explain")
    else:
        document = _look(settings, return_id)
    if as_json:
        click.echo(document)
    else:
        _print(msgspec.json.decode(document, type=ExplainedReturn))


def _look(settings: Settings, return_id: str) -> bytes:
    """Read the ledger, which needs no server."""
    from onhand.ledger import open_ledger  # noqa: PLC0415
    from onhand.ledger.order_reads import OrderReads  # noqa: PLC0415
    from onhand.web.return_pages import ReturnPages  # noqa: PLC0415

    with contextlib.closing(open_ledger(settings)) as ledger:
        return ReturnPages(OrderReads(ledger), ledger).explanation(return_id)


def _print(explained: ExplainedReturn) -> None:
    return_ = explained.return_
    of = f"order {return_.order_id}" if return_.order_id else f"receipt {return_.receipt}"
    if return_.order_id is None and return_.receipt is None:
        of = "nothing that is known"
    way = {"store": "in a store", "mail": "by mail"}[return_.channel]
    click.echo(f"{return_.id}: {return_.status}, {way}, of {of}, of {return_.created_at}")
    if return_.exchange is not None:
        click.echo(f"  {_exchange(return_.exchange)}")
    print_table(LINE_COLUMNS, [_row(each) for each in return_.lines], empty="")
    print_past(return_.history, explained.ledger)


def _exchange(exchange: ExchangeDocument) -> str:
    words = [f"exchanged for order {exchange.order_id}"]
    if exchange.value is not None:
        words.append(f"worth {exchange.value:,.2f}, of which {exchange.settled:,.2f} has come back")
    if exchange.cancelled_value:
        words.append(f"{exchange.cancelled_value:,.2f} of it cancelled")
    elif exchange.cancelled:
        words.append("cancelled")
    return ", ".join(words)


def _row(line: ReturnLineDocument) -> tuple[str, ...]:
    lies = "; ".join(
        f"{units:,} {fate} at {each.location}"
        for each in line.arrivals
        for fate, units in each.quantities.items()
    )
    return (
        line.line,
        line.sku,
        f"{line.quantity:,}",
        f"{line.received:,}",
        line.reason,
        lies,
        _rule(line.decision),
    )


def _rule(decision: DecisionDocument) -> str:
    words = f"{decision.rule} of policy {decision.policy_version}"
    if decision.overridden:
        words += f", {', '.join(decision.overridden)} set aside: {decision.override_reason}"
    return words
