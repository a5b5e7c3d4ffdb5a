"""What customers bring back: announced or told by a till, taken in, looked at, exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.soak.account import Cell

if TYPE_CHECKING:
    from benchmarks.soak.lives import Life

ANNOUNCE_CODES = frozenset({"insufficient_stock", "quantity_exceeded"})
"""An exchange needs stock; and what only a till has handed over may not be decided yet."""

RECEIVE_CODES = frozenset({"wrong_state", "quantity_exceeded"})
GONE = ("shipped", "collected")


async def bring_back(life: Life, order: dict[str, Any]) -> str | None:
    """Bring back one unit of each line that left; answer the order that is given for it, if any."""
    order = await life.order(order["id"])
    gone = [line for line in order["lines"] if any(line["quantities"].get(each) for each in GONE)]
    if not gone:
        return None
    is_store = life.chance.random() < 0.6
    body: dict[str, Any] = {
        "order_id": order["id"],
        "channel": "store" if is_store else "mail",
        "lines": [{"line": line["id"], "quantity": 1, "reason": "too small"} for line in gone],
    }
    # Goods come back wherever customers please: to a store that may never have sold them.
    location = life.chance.choice(life.world.stores() if is_store else life.world.warehouses())
    if is_store:
        body["location"] = location
    if life.chance.random() < 0.2:
        body["exchange"] = [{"sku": gone[0]["sku"], "quantity": 1}]
        body["exchange_fulfilment"] = {
            "method": "ship",
            "destination": {"latitude": 50.0, "longitude": 9.0},
        }
    reply = await life.post("announce return", "/v1/returns", body, ANNOUNCE_CODES)
    if not reply.is_success:
        return None
    life.lived.return_count += 1
    announced = reply.document()
    exchange: str | None = announced.get("exchange", {}).get("order_id")
    if exchange:
        life.lived.left.setdefault(exchange, 0)
    await life.pause()
    fate = life.chance.random()
    if fate < 0.1:
        await life.post("cancel return", f"/v1/returns/{announced['id']}/cancel", {}, RECEIVE_CODES)
    elif fate < 0.2 and is_store:
        await _tell_by_till(life, announced, location)
    else:
        await _receive(life, announced, location)
    return exchange


async def _tell_by_till(life: Life, announced: dict[str, Any], location: str) -> None:
    """Let a till alone tell of what has come: it is restocked, whatever is known of it."""
    for line in announced["lines"]:
        event = {"type": "return", "location": location, "return_id": announced["id"]}
        event |= {"disposition": "sellable", "sku": line["sku"], "quantity": line["quantity"]}
        if await life.claim(event):
            life.lived.account.move(line["sku"], location, line["quantity"])


async def _receive(life: Life, announced: dict[str, Any], location: str) -> None:
    """Take in what was announced, and look at what was held."""
    disposition = life.chance.choice(("sellable", "sellable", "inspect", "damaged"))
    path = f"/v1/returns/{announced['id']}"
    lines = [
        {"line": line["line"], "quantity": line["quantity"], "disposition": disposition}
        for line in announced["lines"]
    ]
    body = {"location": location, "lines": lines}
    reply = await life.post("receive return", f"{path}/receive", body, RECEIVE_CODES)
    if not reply.is_success:
        return
    _restock(life, announced, location, disposition)
    if disposition != "inspect":
        return
    await life.pause()
    found = life.chance.choice(("sellable", "damaged"))
    body = {"location": location, "lines": [line | {"disposition": found} for line in lines]}
    reply = await life.post("inspect return", f"{path}/inspect", body, RECEIVE_CODES)
    if reply.is_success:
        for line in announced["lines"]:
            life.lived.account.held[Cell(line["sku"], location)] -= line["quantity"]
        _restock(life, announced, location, found)


def _restock(life: Life, announced: dict[str, Any], location: str, disposition: str) -> None:
    for line in announced["lines"]:
        if disposition == "sellable":
            life.lived.account.move(line["sku"], location, line["quantity"])
        if disposition == "inspect":
            life.lived.account.held[Cell(line["sku"], location)] += line["quantity"]
