"""Holds: a cart's reservation at locations, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from onhand.model.orders import HeldLine, Hold, summed
from onhand.model.setup import ALL
from onhand.orders import backorders
from onhand.orders.refusal import Refusal, refuse
from onhand.orders.views import document_of

if TYPE_CHECKING:
    from onhand.model.commands import ExtendHold, HoldLine, PlaceHold
    from onhand.orders.desk import Desk

SECOND_US = 1_000_000


def place(desk: Desk, body: PlaceHold, now_us: int) -> Hold:
    """Reserve every line, or none.

    A line on a group is placed on as few of its locations as will do, the fullest first.

    Raises
    ------
    Refusal
        ``insufficient_stock`` with what is wanted and available a line; an unknown SKU, location
        or group; ``too_many_open``.
    """
    desk.must_have_room()
    backorders.settle(desk, dict.fromkeys(line.sku for line in body.lines), now_us)
    lines = _placed(desk, body.lines)
    hold = Hold(
        id=desk.ids.next("hold"),
        status="active",
        lines=lines,
        channel=body.channel,
        created_us=now_us,
        expires_us=now_us + body.ttl_s * SECOND_US,
    )
    desk.book.put_hold(hold)
    desk.tell("hold.placed", hold.id, now_us, document_of(hold))
    return hold


def find(desk: Desk, hold_id: str, pointer: str | None = None) -> Hold:
    """Find a hold, whatever became of it; ``pointer`` is the field that named it, if one did.

    Raises
    ------
    Refusal
        ``unknown_hold``.
    """
    hold = desk.book.holds.get(hold_id)
    if hold is None:
        raise refuse("unknown_hold", f"there is no hold {hold_id!r}", pointer)
    return hold


def find_active(desk: Desk, hold_id: str, now_us: int, pointer: str | None = None) -> Hold:
    """Find a hold that still holds; ``pointer`` as for :func:`find`.

    Raises
    ------
    Refusal
        ``unknown_hold``, ``hold_expired`` or ``hold_closed``.
    """
    hold = find(desk, hold_id, pointer)
    if hold.status == "expired" or (hold.status == "active" and hold.expires_us <= now_us):
        detail = f"hold {hold_id!r} has expired; its units are free again"
        raise refuse("hold_expired", detail, pointer)
    if hold.status != "active":
        raise refuse("hold_closed", f"hold {hold_id!r} is {hold.status}", pointer)
    return hold


def extend(desk: Desk, hold_id: str, body: ExtendHold, now_us: int) -> Hold:
    """Let a hold end ``ttl_s`` from now.

    Raises
    ------
    Refusal
        ``unknown_hold``, ``hold_expired`` or ``hold_closed``.
    """
    hold = find_active(desk, hold_id, now_us)
    return _become(desk, hold, "extended", now_us, expires_us=now_us + body.ttl_s * SECOND_US)


def release(desk: Desk, hold_id: str, now_us: int) -> Hold:
    """Free what a hold holds; releasing a released one changes nothing.

    Raises
    ------
    Refusal
        ``unknown_hold``, ``hold_expired`` or ``hold_closed`` (it became an order).
    """
    hold = find(desk, hold_id)
    if hold.status == "released":
        return hold
    hold = find_active(desk, hold_id, now_us)
    return _become(desk, hold, "released", now_us, status="released")


def expire(desk: Desk, hold: Hold, now_us: int) -> Hold:
    """Free what a hold whose time is over holds."""
    return _become(desk, hold, "expired", now_us, status="expired")


def consume(desk: Desk, hold: Hold, order_id: str, now_us: int) -> Hold:
    """Close a hold that has turned into an order. Put the order first: its stock is never free."""
    return _become(desk, hold, "ordered", now_us, status="ordered", order_id=order_id)


def move(desk: Desk, hold: Hold, lines: tuple[HeldLine, ...], now_us: int) -> Hold:
    """Put a hold's lines on other cells; the new ones are raised before the old are lowered."""
    return _become(desk, hold, "moved", now_us, lines=lines, moves=hold.moves + 1)


def _become(desk: Desk, hold: Hold, what: str, now_us: int, **fields: Any) -> Hold:
    new = msgspec.structs.replace(hold, **fields)
    desk.book.put_hold(new)
    desk.tell(f"hold.{what}", new.id, now_us, document_of(new))
    return new


def _placed(desk: Desk, lines: tuple[HoldLine, ...]) -> tuple[HeldLine, ...]:
    if len(lines) == 1 and lines[0].location is not None:
        return (_placed_alone(desk, lines[0], lines[0].location),)
    for index, line in enumerate(lines):
        _must_exist(desk, line, f"/lines/{index}")
    taken: dict[tuple[str, str], int] = {}
    placed: list[HeldLine] = []
    missing: list[dict[str, Any]] = []
    # Lines that name their location have no choice, so they choose first.
    order = sorted(range(len(lines)), key=lambda index: lines[index].location is None)
    for index in order:
        line = lines[index]
        parts = _parts(desk, line, taken)
        available = sum(part.quantity for part in parts)
        if available < line.quantity:
            missing.append(_missing(index, line, available))
            continue
        for part in parts:
            cell = (part.sku, part.location)
            taken[cell] = taken.get(cell, 0) + part.quantity
        placed += parts
    if missing:
        raise insufficient(sorted(missing, key=lambda each: each["line"]))
    return tuple(placed)


def _placed_alone(desk: Desk, line: HoldLine, location: str) -> HeldLine:
    promisable = desk.stock.promisable(line.sku, location)
    if promisable < line.quantity:
        _must_exist(desk, line, "/lines/0")
        raise insufficient([_missing(0, line, max(0, promisable))])
    if location not in desk.setup.locations or not desk.setup.locations[location].enabled:
        _must_exist(desk, line, "/lines/0")
    return HeldLine(line.sku, line.quantity, location)


def _must_exist(desk: Desk, line: HoldLine, pointer: str) -> None:
    desk.must_know_sku(line.sku, f"{pointer}/sku")
    if line.group is not None and not desk.stock.has_group(line.group):
        raise refuse("unknown_group", f"no location is in {line.group!r}", f"{pointer}/group")
    if line.location is None:
        return
    known = desk.setup.locations.get(line.location)
    if known is None and not desk.stock.knows_location(line.location):
        where = f"{pointer}/location"
        raise refuse("unknown_location", f"nobody has named {line.location!r}", where)
    if known is not None and not known.enabled:
        raise _disabled(line.location, f"{pointer}/location")


def _disabled(location: str, pointer: str) -> Refusal:
    return refuse("location_disabled", f"{location!r} is disabled", pointer)


def _parts(desk: Desk, line: HoldLine, taken: dict[tuple[str, str], int]) -> list[HeldLine]:
    """Take a line's units, or as many as there are, net of what earlier lines have taken."""
    if line.location is not None:
        free = desk.stock.promisable(line.sku, line.location)
        free -= taken.get((line.sku, line.location), 0)
        units = min(line.quantity, free)
        return [HeldLine(line.sku, units, line.location)] if units > 0 else []
    names, cells = desk.stock.group_cells([line.sku], line.group or ALL)
    free_at = cells[0].copy()
    for (sku, location), units in taken.items():
        if sku == line.sku and location in names:
            free_at[names.index(location)] -= units
    parts: list[HeldLine] = []
    left = line.quantity
    while left > 0 and len(free_at):
        fullest = int(free_at.argmax())
        units = min(left, int(free_at[fullest]))
        if units <= 0:
            break
        parts.append(HeldLine(line.sku, units, names[fullest], line.group))
        free_at[fullest] = 0
        left -= units
    return parts


def _missing(index: int, line: HoldLine, available: int) -> dict[str, Any]:
    return {"line": index, "sku": line.sku, "wanted": line.quantity, "available": available}


def insufficient(lines: list[dict[str, Any]]) -> Refusal:
    """Refuse for want of stock, naming the lines that lack it."""
    first = lines[0]
    detail = f"{first['wanted']} of {first['sku']!r} are wanted and {first['available']} available"
    if len(lines) > 1:
        detail += f"; {len(lines) - 1} more lines lack stock"
    return refuse("insufficient_stock", detail, f"/lines/{first['line']}", lines=lines)


def held_units(hold: Hold) -> dict[str, int]:
    """Sum what a hold holds of each SKU."""
    return summed((line.sku, line.quantity) for line in hold.lines)
