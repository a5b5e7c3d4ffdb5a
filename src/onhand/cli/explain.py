"""``onhand explain``: the terms behind one number and what is behind them; an order, a return."""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import click
import msgspec

from onhand.cli.fetch import fetch
from onhand.cli.options import settings_options
from onhand.cli.tables import print_table
from onhand.errors import InvalidInput, OnhandError

if TYPE_CHECKING:
    from onhand.settings import Settings
    from onhand.web.explain import Explanation

EVENT_COLUMNS: Final = ("occurred_at", "type", "quantity", "effect", "source", "id", "log")
RETURN_PREFIX: Final = "return_"
"""What the ids of returns begin with."""

PROMISE_COLUMNS: Final = ("created_at", "kind", "quantity", "status", "id", "order", "expires_at")


class UnknownCellError(OnhandError):
    """No event and no set-up has named the SKU or the location."""

    code = "unknown_cell"


@click.command()
@settings_options("data", "kafka", "topic_prefix", "database", "table_dir", "low_stock")
@click.argument("sku", metavar="SKU|ORDER|RETURN")
@click.argument("location", required=False)
@click.option(
    "--limit", type=click.IntRange(0, 200), default=20, help="Events and promises; default 20."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--url", help="Ask this server instead of the tables here, as http://HOST:PORT.")
@click.option("--token", envvar="ONHAND_TOKEN", help="A token, with --url. [ONHAND_TOKEN]")
def explain(
    settings: Settings,
    sku: str,
    location: str | None,
    *,
    limit: int,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Show the terms of SKU at LOCATION and what is behind them, newest first.

    Without LOCATION, show the order of that id: why each location was chosen, and its history; or
    the return, whose id begins with return_: by which rule it came back, and where it lies.
    """
    if location is None and sku.startswith(RETURN_PREFIX):
        from onhand.cli.explain_return import explain_return  # noqa: PLC0415 - for `--help` too

        explain_return(settings, sku, url=url, token=token, as_json=as_json)
        return
    if location is None:
        from onhand.cli.explain_order import explain_order  # noqa: PLC0415 - for `--help` too

        explain_order(settings, sku, url=url, token=token, as_json=as_json)
        return
    if url is not None:
        explanation = _ask(url, token, sku, location, limit)
    else:
        explanation = _look(settings, sku, location, limit)
    if as_json:
        click.echo(msgspec.json.encode(explanation))
    else:
        _print(explanation, location)


def _ask(url: str, token: str | None, sku: str, location: str, limit: int) -> Explanation:
    from onhand.web.explain import Explanation  # noqa: PLC0415 - keeps `--help` quick

    query = f"location={quote(location, safe='')}&limit={max(1, limit)}"
    status, content = fetch(url, f"/v1/availability/{quote(sku, safe='')}/explain?{query}", token)
    if status != http.client.OK:
        problem = msgspec.json.decode(content, type=dict)
        raise InvalidInput(f"{url} answered {status}: {problem.get('detail', '')}".rstrip(". "))
    explanation = msgspec.json.decode(content, type=Explanation)
    promises = explanation.promises
    if promises is not None:
        promises = msgspec.structs.replace(promises, items=promises.items[:limit])
    return msgspec.structs.replace(explanation, items=explanation.items[:limit], promises=promises)


def _look(settings: Settings, sku: str, location: str, limit: int) -> Explanation:
    """Read the tables on this machine, which needs no server."""
    from onhand.identity import open_identity  # noqa: PLC0415 - native code loads only here
    from onhand.ledger import SetupStore, open_ledger  # noqa: PLC0415
    from onhand.ledger.order_reads import OrderReads  # noqa: PLC0415
    from onhand.log import open_log  # noqa: PLC0415
    from onhand.table.reader import TableReader, UnknownScope  # noqa: PLC0415
    from onhand.web.explain import Explanation, explain_movements  # noqa: PLC0415
    from onhand.web.explain_promises import promises_in_ledger  # noqa: PLC0415

    reader = TableReader(
        settings.table_dir, open_identity(settings.data).id, low_stock=settings.low_stock
    )
    reader.refresh()
    with contextlib.closing(open_ledger(settings)) as ledger:
        reader.set_scopes(SetupStore(ledger).load_setup(), time.time())
        promises = promises_in_ledger(OrderReads(ledger), sku, location, limit=limit)
    try:
        terms = reader.read(sku, f"location:{location}", time.time_ns() // 1_000)
    except UnknownScope:
        raise _unknown(f"location {location!r}") from None
    if terms is None:
        raise _unknown(f"SKU {sku!r}")
    with contextlib.closing(open_log(settings)) as event_log:
        events = explain_movements(event_log, reader.history(sku, location, limit))
    return Explanation(terms, events, None, promises)


def _unknown(what: str) -> UnknownCellError:
    return UnknownCellError(
        f"no event and no set-up has named the {what}",
        "Check its spelling, and that --data is the right directory",
    )


def _print(explanation: Explanation, location: str) -> None:
    terms = explanation.terms
    click.echo(f"{terms.sku} at {location}, as of {terms.as_of} ({terms.age_ms} ms ago)")
    click.echo(
        f"  {terms.on_hand:,} on hand - {terms.reserved:,} reserved"
        f" - {terms.safety_stock:,} safety stock = {terms.available:,} available"
        f" ({terms.band})"
    )
    click.echo(f"  {terms.held:,} held, {terms.in_transit:,} in transit, {terms.shortfall:,} short")
    later = ", ".join(
        f"{each.quantity:,} from {each.date}" for each in terms.available_to_order[1:]
    )
    if later:
        click.echo(f"  to order: {later}")
    rows = [
        (
            event.occurred_at,
            event.type,
            f"{event.quantity:+,}" if event.type == "adjustment" else f"{event.quantity:,}",
            "+".join(event.effects) or "none",
            event.source or "",
            event.id or "",
            f"{event.topic}[{event.partition}]@{event.offset}",
        )
        for event in explanation.items
    ]
    print_table(EVENT_COLUMNS, rows, empty="No recent event has moved it.")
    if explanation.promises is not None and explanation.promises.items:
        promised = [
            (
                each.created_at,
                each.kind,
                f"{each.quantity:,}",
                each.status,
                each.id,
                each.order_id or "",
                each.expires_at or "",
            )
            for each in explanation.promises.items
        ]
        print_table(PROMISE_COLUMNS, promised, empty="")
