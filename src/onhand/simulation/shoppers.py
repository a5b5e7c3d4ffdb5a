"""Shoppers and associates: who asks the order writer, and asks again when no answer comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from onhand.model.commands import (
    CancelledLine,
    CancelOrder,
    CollectTask,
    Destination,
    ExtendHold,
    Fulfilment,
    HoldLine,
    OrderLine,
    OrderPolicy,
    PackTask,
    PickTask,
    PlaceHold,
    PlaceOrder,
    ReadyTask,
    RejectTask,
    ShipTask,
    ShortLine,
)
from onhand.orders.engine import Asked
from onhand.simulation.tills import PLACES, SKUS
from onhand.simulation.writer import Ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from onhand.simulation.promised import Promised

HOME: Final = Destination(latitude=52.0, longitude=5.0)
NEXT: Final = {
    ("pickup", "open"): "pick",
    ("pickup", "picked"): "ready",
    ("pickup", "ready"): "collect",
    ("ship", "open"): "pick",
    ("ship", "picked"): "pack",
    ("ship", "packed"): "ship",
}
"""The step that a task takes next, by its order's method and its status."""
UNANSWERED_MAX: Final = 30


class Clients:
    """Everybody who gives commands, and what they were answered.

    Parameters
    ----------
    promised
        What is committed, which is what anyone may read.
    """

    def __init__(self, random: Random, promised: Promised) -> None:
        self.unanswered: list[Ask] = []
        self.settled: list[Ask] = []
        self._random = random
        self._promised = promised
        self._count = 0

    def next_ask(self) -> Ask | None:
        """Make a command, or take one that was never answered, or one that was."""
        self._collect()
        idle = [each for each in self.unanswered if not each.is_waiting]
        if idle and (self._random.random() < 0.5 or len(self.unanswered) > UNANSWERED_MAX):
            return self._random.choice(idle)
        if self.settled and self._random.random() < 0.08:
            ask = self._random.choice(self.settled[-30:])
            return None if ask.is_waiting else ask
        asked = self._new()
        if asked is None:
            return None
        self._count += 1
        ask = Ask(asked, self._count.to_bytes(4, "big") * 8, self._promised)
        self.unanswered.append(ask)
        return ask

    def take_idle(self) -> list[Ask]:
        """List the commands that were not answered, to send them again."""
        self._collect()
        return [each for each in self.unanswered if not each.is_waiting]

    def _collect(self) -> None:
        self.settled += [each for each in self.unanswered if each.is_settled]
        self.unanswered = [each for each in self.unanswered if not each.is_settled]

    def _new(self) -> Asked | None:
        kinds = {
            self._hold: 4,
            self._order: 6,
            self._touch_hold: 2,
            self._cancel: 1,
            self._task: 9,
        }
        return self._random.choices(list(kinds), list(kinds.values()))[0]()

    def _hold(self) -> Asked:
        random = self._random
        lines = tuple(
            HoldLine(
                sku=sku,
                quantity=random.randint(1, 4),
                **random.choice(({"group": "west"}, {"location": random.choice(PLACES)})),
            )
            for sku in random.sample(SKUS, random.choice((1, 1, 2)))
        )
        return Asked(
            what="place_hold", body=PlaceHold(lines=lines, ttl_s=random.choice((5, 60, 3_000)))
        )

    def _touch_hold(self) -> Asked | None:
        active = [
            each["id"] for each in self._promised.holds.values() if each["status"] == "active"
        ]
        if not active:
            return None
        target = self._random.choice(active)
        if self._random.random() < 0.3:
            return Asked(what="extend_hold", target=target, body=ExtendHold(ttl_s=60))
        return Asked(what="release_hold", target=target)

    def _order(self) -> Asked:
        random = self._random
        active = [each for each in self._promised.holds.values() if each["status"] == "active"]
        hold = random.choice(active) if active and random.random() < 0.4 else None
        wanted = {
            sku: random.randint(1, 4) for sku in random.sample(SKUS, random.choice((1, 1, 2)))
        }
        if hold is not None:
            wanted = {}
            for line in hold["lines"]:
                wanted[line["sku"]] = wanted.get(line["sku"], 0) + line["quantity"]
        fulfilment = Fulfilment(method="ship", destination=HOME)
        if random.random() < 0.4:
            place = hold["lines"][0]["location"] if hold is not None else random.choice(PLACES)
            fulfilment = Fulfilment(method="pickup", location=place)
        policy = OrderPolicy(
            allow_split=random.random() < 0.7,
            allow_partial=random.random() < 0.3,
            allow_backorder=random.random() < 0.3,
        )
        body = PlaceOrder(
            lines=tuple(OrderLine(sku=sku, quantity=units) for sku, units in wanted.items()),
            fulfilment=fulfilment,
            hold_id=hold["id"] if hold is not None else None,
            policy=policy,
        )
        return Asked(what="place_order", body=body)

    def _cancel(self) -> Asked | None:
        order = self._some_order()
        if order is None:
            return None
        body = CancelOrder()
        if self._random.random() < 0.4:
            line = self._random.choice(order["lines"])
            body = CancelOrder(lines=(CancelledLine(id=line["id"], quantity=1),))
        return Asked(what="cancel_order", target=order["id"], body=body)

    def _task(self) -> Asked | None:
        order = self._some_order()
        if order is None or not order["tasks"]:
            return None
        task = self._random.choice(order["tasks"])
        step = NEXT.get((order["method"], task["status"]))
        if step is None:
            return None
        if step == "pick" and self._random.random() < 0.1:
            step = "reject"
        return Asked(what=f"{step}_task", target=task["id"], body=self._step(step, order, task))

    def _step(self, step: str, order: dict[str, Any], task: dict[str, Any]) -> Any:
        if step == "pick" and self._random.random() < 0.2:
            mine = [each for each in order["allocations"] if each["task"] == task["id"]]
            short = ShortLine(line=mine[0]["line"], quantity=1, reason="not there")
            return PickTask(short=(short,))
        steps: dict[str, Callable[[], Any]] = {
            "pick": PickTask,
            "pack": PackTask,
            "ready": ReadyTask,
            "reject": lambda: RejectTask(reason="no staff"),
            "ship": lambda: ShipTask(carrier="PostNL", tracking_number="3S1"),
            "collect": lambda: CollectTask(pickup_code=order["pickup_code"]),
        }
        return steps[step]()

    def _some_order(self) -> dict[str, Any] | None:
        recent = list(self._promised.orders.values())[-15:]
        return self._random.choice(recent) if recent else None
