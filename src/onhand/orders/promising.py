"""Promising: how an order could be fulfilled if it were placed now. It holds nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from onhand.model.orders import summed
from onhand.orders import backorders
from onhand.orders.checks import must_be_servable
from onhand.orders.desk import rfc3339
from onhand.orders.ordering import lines_lacking, new_order
from onhand.orders.placing import Wanted
from onhand.orders.sites import date_of, instant_us
from onhand.orders.ways import Wish, find_ways, sources_of

if TYPE_CHECKING:
    from onhand.model.commands import AskPromise
    from onhand.model.orders import Order
    from onhand.orders.desk import Desk
    from onhand.orders.ways import Way


def rank(desk: Desk, body: AskPromise, now_us: int) -> list[dict[str, Any]]:
    """List the options that an order has, best first, at most ``limit``.

    An option's ``ready_by`` or ``deliver_by`` is that of its last package. Under ``allow_partial``
    what it leaves out is its ``short``. When not everything is there and ``allow_backorder`` is
    set, there is one option, whose lines have a ``due`` date where they wait for stock.

    Raises
    ------
    Refusal
        What :func:`onhand.orders.checks.must_be_servable` refuses.
    """
    options: list[dict[str, Any]] = answer(desk, body, now_us)["options"]
    return options


def answer(desk: Desk, body: AskPromise, now_us: int) -> dict[str, Any]:
    """Answer with the options, or with none and what is wanted and available of each line.

    Raises
    ------
    Refusal
        As :func:`rank`.
    """
    must_be_servable(desk, body.lines, body.fulfilment)
    units: dict[str, int] = {}
    for line in body.lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    backorders.settle(desk, units, now_us)
    fulfilment, policy = body.fulfilment, body.policy
    deliver_by = fulfilment.deliver_by
    wish = Wish(
        method=fulfilment.method,
        location=fulfilment.location,
        destination=fulfilment.destination,
        deliver_by_us=None if deliver_by is None else instant_us(deliver_by),
        allow_split=policy.allow_split,
    )
    # What may wait should not be left out, so partial ways are the last resort then.
    partial = policy.allow_partial and not policy.allow_backorder
    ways = find_ways(desk, wish, units, now_us, partial=partial, count_max=body.limit)
    if ways:
        return {"options": [_option(way) for way in ways]}
    return _scarce(desk, body, wish, now_us)


def _option(way: Way) -> dict[str, Any]:
    ready = [times.ready_us for times in way.times.values()]
    deliver = [times.deliver_us for times in way.times.values() if times.deliver_us is not None]
    option: dict[str, Any] = {
        "lines": [
            {"sku": sku, "quantity": quantity, "location": location}
            for sku, location, quantity in way.parts
        ],
        "packages": way.packages,
        "distance_km": round(way.distance_km, 3),
        "cost": way.cost,
        "deliver_by" if deliver else "ready_by": rfc3339(max(deliver or ready)),
        "score": way.score,
        "why": way.why,
    }
    if way.short:
        option["short"] = [
            {"sku": sku, "quantity": quantity} for sku, quantity in way.short.items()
        ]
    return option


def _scarce(desk: Desk, body: AskPromise, wish: Wish, now_us: int) -> dict[str, Any]:
    """Let an order that is never put wait for stock, or say what is lacking."""
    order = new_order("", body.lines, body.fulfilment, body.policy, now_us)
    wanted = [Wanted(line.id, line.sku, line.quantity) for line in order.lines]
    missing = backorders.fulfil(desk, order, wanted, now_us)
    if order.allocations and (not missing or body.policy.allow_partial):
        short = summed((each.sku, each.quantity) for each in missing)
        return {"options": [_waiting_option(desk, order, wish, short)]}
    return {"options": [], "lines": lines_lacking(order, missing)}


def _waiting_option(desk: Desk, order: Order, wish: Wish, short: dict[str, int]) -> dict[str, Any]:
    parts = summed(
        ((each.sku, each.location or "", each.due_day), each.quantity) for each in order.allocations
    )
    packages = list(dict.fromkeys((location, day) for _, location, day in parts))
    sources = {each.location.id: each for each in sources_of(desk, wish, order.lines[0].sku)}
    used = [sources[location] for location, _ in packages if location in sources]
    promised = [each.deliver_by_us or each.ready_by_us or 0 for each in order.allocations]
    option: dict[str, Any] = {
        "lines": [
            {"sku": sku, "quantity": quantity, "location": location}
            | ({} if day is None else {"due": date_of(day).isoformat()})
            for (sku, location, day), quantity in parts.items()
        ],
        "packages": len(packages),
        "distance_km": round(sum(filter(math.isfinite, (each.distance_km for each in used))), 3),
        "cost": sum(each.location.handling_cost for each in used),
        "ready_by" if order.method == "pickup" else "deliver_by": rfc3339(max(promised)),
        "score": 0.0,
        "why": ["not everything is there: some of it waits for stock that is on its way"],
    }
    if short:
        option["short"] = [{"sku": sku, "quantity": quantity} for sku, quantity in short.items()]
    return option
