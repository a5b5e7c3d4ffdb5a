"""What time does: holds expire, pickups that nobody collects, and returns that never come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from onhand.orders import holds, returning
from onhand.orders.tasks import expire_pickup

if TYPE_CHECKING:
    from onhand.orders.desk import Desk


class Expired(Struct, frozen=True):
    """What one call gave up."""

    holds: int
    pickups: int
    returns: int = 0

    @property
    def most(self) -> int:
        """The largest of the numbers."""
        return max(self.holds, self.pickups, self.returns)


def due(desk: Desk, now_us: int, count_max: int = 1_000) -> Expired:
    """Expire holds, pickups and returns whose time is over, at most so many of each.

    Call it again at once while it gives up as many as it may.
    """
    due_holds = desk.book.due_holds(now_us, count_max)
    for hold in due_holds:
        holds.expire(desk, hold, now_us)
    due_pickups = desk.book.due_pickups(now_us, count_max)
    for order, task_id in due_pickups:
        expire_pickup(desk, order, task_id, now_us)
    due_returns = desk.book.due_returns(now_us, count_max)
    for return_ in due_returns:
        returning.expire(desk, return_, now_us)
    return Expired(len(due_holds), len(due_pickups), len(due_returns))
