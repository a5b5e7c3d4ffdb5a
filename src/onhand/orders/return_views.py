"""Returns as the outside sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onhand.orders.desk import rfc3339
from onhand.orders.views import entry_view

if TYPE_CHECKING:
    from onhand.model.return_policy import Disposition
    from onhand.model.returns import Arrival, Decision, Exchange, Return, ReturnedLine
    from onhand.orders.handover import Units


def return_view(return_: Return) -> dict[str, Any]:
    """Describe a return with its lines, where they have come to, and what was decided."""
    view: dict[str, Any] = {
        "id": return_.id,
        "status": return_.status,
        "channel": return_.channel,
        "lines": [line_view(each) for each in return_.lines],
        "created_at": rfc3339(return_.created_us),
        "updated_at": rfc3339(return_.updated_us),
        "expires_at": rfc3339(return_.expires_us),
        "history": [entry_view(each) for each in return_.history],
    }
    for name in ("order_id", "receipt", "customer_id", "location"):
        if getattr(return_, name) is not None:
            view[name] = getattr(return_, name)
    if return_.by_till:
        view["by_till"] = True
    if return_.exchange is not None:
        view["exchange"] = _exchange_view(return_.exchange)
    return view


def strays_view(strays: dict[Disposition, Units]) -> list[dict[str, Any]]:
    """Describe units that came and belong to no return."""
    return [
        {"sku": sku, "quantity": quantity, "disposition": disposition}
        for disposition, units in strays.items()
        for sku, quantity in units.items()
    ]


def line_view(line: ReturnedLine) -> dict[str, Any]:
    """Describe a line of a return."""
    counts = {
        "awaited": line.awaited,
        "sellable": sum(each.sellable for each in line.arrivals),
        "held": sum(each.held for each in line.arrivals),
        "damaged": sum(each.damaged for each in line.arrivals),
        "given_up": line.given_up,
    }
    view: dict[str, Any] = {
        "line": line.id,
        "sku": line.sku,
        "quantity": line.quantity,
        "received": line.received,
        "reason": line.reason,
        "quantities": {name: units for name, units in counts.items() if units},
        "arrivals": [_arrival_view(each) for each in line.arrivals if each.quantity],
        "decision": _decision_view(line.decision),
    }
    if line.order_line is not None:
        view["order_line"] = line.order_line
    if line.unit_price is not None:
        view["unit_price"] = line.unit_price
    if not line.announced:
        view["announced"] = False
    return view


def _arrival_view(arrival: Arrival) -> dict[str, Any]:
    counts = {"sellable": arrival.sellable, "held": arrival.held, "damaged": arrival.damaged}
    return {
        "location": arrival.location,
        "quantities": {name: units for name, units in counts.items() if units},
        "told_by_app": arrival.told_by_app,
        "told_by_till": arrival.told_by_till,
    }


def _decision_view(decision: Decision) -> dict[str, Any]:
    view: dict[str, Any] = {
        "policy_version": decision.policy_version,
        "rule": decision.rule,
        "restock": decision.restock,
    }
    if decision.fee_percent:
        view["fee_percent"] = decision.fee_percent
    if decision.window_ends_us is not None:
        view["window_ends_at"] = rfc3339(decision.window_ends_us)
    if decision.overridden:
        view["overridden"] = list(decision.overridden)
        view["override_reason"] = decision.override_reason
    if decision.by is not None:
        view["by"] = decision.by
    return view


def _exchange_view(exchange: Exchange) -> dict[str, Any]:
    view: dict[str, Any] = {"order_id": exchange.order_id, "cancelled": exchange.cancelled}
    if exchange.value is not None:
        view["value"] = exchange.value
    if exchange.settled:
        view["settled"] = exchange.settled
    if exchange.cancelled_value:
        view["cancelled_value"] = exchange.cancelled_value
    if exchange.price_difference is not None:
        view["price_difference"] = exchange.price_difference
    return view
