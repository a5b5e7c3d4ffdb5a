"""What time does to promises: holds expire, and so do pickups that nobody collects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from onhand.orders import holds
from onhand.orders.tasks import expire_pickup

if TYPE_CHECKING:
    from onhand.orders.desk import Desk


class Expired(Struct, frozen=True):
    """What one call gave up."""

    holds: int
    pickups: int


def due(desk: Desk, now_us: int, count_max: int = 1_000) -> Expired:
    """Expire holds and pickups whose time is over, at most so many of each.

    Call it again at once while it gives up as many as it may.
    """
    due_holds = desk.book.due_holds(now_us, count_max)
    for hold in due_holds:
        holds.expire(desk, hold, now_us)
    due_pickups = desk.book.due_pickups(now_us, count_max)
    for order, task_id in due_pickups:
        expire_pickup(desk, order, task_id, now_us)
    return Expired(len(due_holds), len(due_pickups))
