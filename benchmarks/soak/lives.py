"""Orders by the clock, each walked through a whole life: held, bought, picked, sent, brought back.

A life draws what it does, does it step by step with pauses between, and notes every unit that an
answer has acknowledged. What may go otherwise (the stock is gone, a hold has expired, a shortfall
has moved the order meanwhile) is named beside each step; any other refusal is a finding.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.soak.account import Account
from benchmarks.soak.client import Client, Said, Shift, by_the_clock
from benchmarks.soak.latencies import Latencies
from benchmarks.soak.returns import bring_back
from benchmarks.soak.world import written

if TYPE_CHECKING:
    from benchmarks.soak.client import Reply
    from benchmarks.soak.world import World

CONNECTIONS = 512
"""Many: a slow server must get more at once, as from many customers, and not less."""

PAUSE_S_MAX = 6.0
"""Between the steps of a life; a real one takes hours, and its memory is the same."""

HOLD_TTL_S = (5, 40)
AFTERLIFE_S = 60.0
"""After the load lives go on for so long; a machine that fell behind need not finish them all."""

LEFT_OPEN = 0.001
"""Of all lives, so many end with what nobody did left to do."""

ROUNDS_MAX = 6
"""How often a life looks for tasks that came of others being refused or moved."""

HOLD_CODES = frozenset({"insufficient_stock"})
EXTEND_CODES = frozenset({"hold_expired"})
ORDER_CODES = frozenset({"insufficient_stock"})
HELD_ORDER_CODES = frozenset({"hold_expired", "insufficient_stock"})
CANCEL_CODES = frozenset({"wrong_state", "quantity_exceeded"})
STEP_CODES = frozenset({"wrong_state", "quantity_exceeded"})
"""A shortfall may have taken units from a task between two looks at it."""

WRONG_CODES = frozenset({"wrong_pickup_code"})
UNKNOWN_CODES = frozenset({"unknown_order", "unknown_hold", "unknown_task"})
IN_HANDS = ("picked", "packed", "ready")
DECIDED_LOOKS = 20
"""How often a life looks whether a till's word is decided; what never is stays a finding."""


class LifeOver(Exception):
    """Nothing more is done for a life."""


class Lived(msgspec.Struct):
    """What became of all lives: what moved, and each order with the units known to have left."""

    account: Account
    latencies: Any
    said: Said
    left: dict[str, int] = {}
    hold_count: int = 0
    unanswered_count: int = 0
    claim_count: int = 0
    return_count: int = 0


def live(shift: Shift) -> Lived:
    """Begin orders, and go on until every life is over; return what was acknowledged."""
    return asyncio.run(_Lives(shift).run(shift))


class _Lives:
    def __init__(self, shift: Shift) -> None:
        self.client = Client(shift.port, CONNECTIONS, Latencies(shift.begun_s))
        self.lived = Lived(Account(), self.client.latencies, self.client.said)
        self.world, self.chance = shift.world, random.Random(31)
        self.over_s = shift.begun_s + shift.seconds + AFTERLIFE_S

    async def run(self, shift: Shift) -> Lived:
        await by_the_clock(shift, shift.rate, self._begin, self.client)
        await self.client.close()
        return self.lived

    async def _begin(self, due_s: float) -> None:
        life = Life(self.client, self.lived, self.world, self.chance, self.over_s)
        with contextlib.suppress(LifeOver):
            await life.lead(due_s)


class Life:
    """One customer's order.

    Parameters
    ----------
    client
        Asks for it.
    lived
        Where it is noted.
    world
        What there is to buy.
    chance
        Decides what it does.
    over_s
        When it is left as it is, by the monotonic clock.
    """

    def __init__(
        self,
        client: Client,
        lived: Lived,
        world: World,
        chance: random.Random,
        over_s: float,
    ) -> None:
        self.client, self.lived, self.world, self.chance = client, lived, world, chance
        self.over_s = over_s
        self.skus: set[str] = set()

    async def lead(self, due_s: float) -> None:
        """Walk it from the beginning to the end."""
        numbers = sorted({self.world.draw(self.chance) for _ in range(self.chance.randint(1, 3))})
        lines = [
            {"sku": self.world.sku(number), "quantity": self.chance.randint(1, 2)}
            for number in numbers
        ]
        self.skus.update(line["sku"] for line in lines)
        # All of a pickup's lines must be in one store, so it is of one.
        store = self.world.store_of(numbers[0], self.chance.randrange(self.world.stores_a_sku))
        if is_pickup := self.chance.random() < 0.35:
            del lines[1:]
        order = await self._buy(lines, store if is_pickup else None, due_s)
        if order is None:
            return
        self.lived.left.setdefault(order["id"], 0)
        if self.chance.random() < 0.02:
            await self._err(order)
        await self.pause()
        if self.chance.random() < 0.08:
            await self._cancel(order)
        order = await self._fulfil(order)
        exchange = None
        if self.lived.left[order["id"]] and self.chance.random() < 0.10:
            await self.pause()
            exchange = await bring_back(self, order)
        for each in filter(None, (order["id"], exchange)):
            await self._end(each)

    async def _end(self, order_id: str) -> None:
        """Cancel what is left, but for a few: an hour's open orders must not pile up."""
        if self.chance.random() > LEFT_OPEN:
            await self.pause()
            await self.post("cancel", f"/v1/orders/{order_id}/cancel", None, CANCEL_CODES)

    async def pause(self) -> None:
        """Let some time go by.

        Raises
        ------
        LifeOver
            The load has been over for long; every answer so far is noted.
        """
        if time.monotonic() > self.over_s:
            raise LifeOver
        await asyncio.sleep(self.chance.uniform(0, PAUSE_S_MAX))

    async def post(
        self,
        kind: str,
        path: str,
        body: Any = None,
        expected: frozenset[str] = frozenset(),
        due_s: float | None = None,
    ) -> Reply:
        """Ask for something to be done.

        Raises
        ------
        LifeOver
            It was not answered: what becomes of the life is known to the server alone.
        """
        content = b"" if body is None else msgspec.json.encode(body)
        reply = await self.client.ask(kind, "POST", path, content, expected=expected, due_s=due_s)
        if not reply.is_answer:
            self.lived.unanswered_count += 1
            self.lived.account.unanswered |= self.skus
            raise LifeOver
        return reply

    async def order(self, order_id: str) -> dict[str, Any]:
        """Read the order as it is now."""
        reply = await self.client.ask("read order", "GET", f"/v1/orders/{order_id}")
        return reply.document() if reply.is_success else {"id": order_id, "tasks": [], "lines": []}

    async def claim(self, event: dict[str, Any]) -> bool:
        """Let a till tell of something; say whether it was taken."""
        head = {
            "id": uuid.uuid4().hex,
            "source": "till-claims",
            "occurred_at": written(time.time()),
        }
        reply = await self.post("post claim", "/v1/events", head | event)
        self.lived.claim_count += reply.is_success
        return reply.is_success

    # ---- buying ----

    async def _buy(
        self, lines: list[dict[str, Any]], store: str | None, due_s: float
    ) -> dict[str, Any] | None:
        """Order, half of the time by way of a hold; None when there is no order in the end."""
        body: dict[str, Any] = {"lines": lines, "fulfilment": self._fulfilment(store)}
        body["customer"] = {"id": f"customer-{self.chance.randrange(20_000)}"}
        expected = ORDER_CODES
        if self.chance.random() < 0.5:
            hold = await self._hold(lines, store, due_s)
            if hold is None:
                return None
            body["hold_id"] = hold["id"]
            expected, due_s = HELD_ORDER_CODES, None
        elif self.chance.random() < 0.2:
            body["policy"] = {"allow_backorder": True}
        elif self.chance.random() < 0.2:
            body["policy"] = {"allow_partial": True}
        if self.chance.random() < 0.1:
            asked = {name: body[name] for name in ("lines", "fulfilment")}
            await self.post("promise", "/v1/promises", asked, ORDER_CODES, due_s)
            due_s = None
        reply = await self.post("order", "/v1/orders", body, expected, due_s)
        return reply.document() if reply.is_success else None

    async def _hold(
        self, lines: list[dict[str, Any]], store: str | None, due_s: float
    ) -> dict[str, Any] | None:
        """Hold what is to be ordered; None when it is not, or is to be left alone."""
        place = {"location": store} if store else {"group": "online"}
        body = {"lines": [line | place for line in lines]}
        reply = await self.post(
            "hold",
            "/v1/holds",
            body | {"ttl_s": self.chance.randint(*HOLD_TTL_S)},
            HOLD_CODES,
            due_s,
        )
        if not reply.is_success:
            return None
        self.lived.hold_count += 1
        hold = reply.document()
        await self.pause()
        if self.chance.random() < 0.2:
            await self.post("extend", f"/v1/holds/{hold['id']}/extend", {"ttl_s": 30}, EXTEND_CODES)
        fate = self.chance.random()
        if fate < 0.15:
            await self.client.ask(
                "release", "DELETE", f"/v1/holds/{hold['id']}", expected=EXTEND_CODES
            )
        return hold if fate > 0.25 else None

    def _fulfilment(self, store: str | None) -> dict[str, Any]:
        if store:
            return {"method": "pickup", "location": store}
        latitude, longitude = self.chance.uniform(47, 53), self.chance.uniform(6, 14)
        at = {"latitude": round(latitude, 1), "longitude": round(longitude, 1)}
        return {"method": "ship", "destination": at}

    async def _err(self, order: dict[str, Any]) -> None:
        """Ask for what must be refused."""
        nobody = uuid.uuid4().hex
        kinds = {
            f"/v1/orders/{nobody}/cancel": None,
            f"/v1/holds/{nobody}/extend": {"ttl_s": 5},
            f"/v1/tasks/{nobody}/pick": None,
        }
        path, body = self.chance.choice(list(kinds.items()))
        reply = await self.post("error", path, body, UNKNOWN_CODES)
        if reply.is_success:
            self.client.said.note_unexpected("what must be refused was done", path)
        again = {"id": order["id"], "lines": [{"sku": self.world.sku(1), "quantity": 1}]}
        again["fulfilment"] = self._fulfilment(None)
        reply = await self.post("error", "/v1/orders", again, frozenset({"order_exists"}))
        if reply.is_success:
            self.client.said.note_unexpected("an order was placed twice", order["id"])

    async def _cancel(self, order: dict[str, Any]) -> None:
        """Cancel it, or a unit of it."""
        body = None
        if self.chance.random() < 0.4:
            body = {"lines": [{"id": order["lines"][0]["id"], "quantity": 1}]}
        await self.post("cancel", f"/v1/orders/{order['id']}/cancel", body, CANCEL_CODES)

    # ---- fulfilling ----

    async def _fulfil(self, order: dict[str, Any]) -> dict[str, Any]:
        """Work on its tasks, those too that come of others, until nothing is left to do."""
        done: set[str] = set()
        for _ in range(ROUNDS_MAX):
            order = await self.order(order["id"])
            tasks = [each for each in order["tasks"] if each not in done]
            if not tasks:
                break
            for task in tasks:
                done.add(task)
                await self.pause()
                await self._work(order["id"], task)
        return order

    async def _work(self, order_id: str, task: str) -> None:
        """Do a task, or refuse it; some are left as they are."""
        fate = self.chance.random()
        if fate < 0.03:
            body = {"reason": "no time"}
            await self.post("reject", f"/v1/tasks/{task}/reject", body, STEP_CODES)
            return
        picked = await self._pick(order_id, task, is_short=fate < 0.07)
        if picked is None or not any(line["picked"] for line in picked["lines"]):
            return
        await self.pause()
        is_pickup = picked["method"] == "pickup"
        verb = "ready" if is_pickup else "pack"
        await self.post(verb, f"/v1/tasks/{task}/{verb}", {}, STEP_CODES)
        await self.pause()
        if fate > 0.98:
            return
        await self._hand_over(order_id, task, picked, is_pickup=is_pickup)

    async def _pick(self, order_id: str, task: str, *, is_short: bool) -> dict[str, Any] | None:
        """Pick what is asked for, or all but a unit; answer the task."""
        body = None
        if is_short:
            order = await self.order(order_id)
            of_task = [
                (line, each)
                for line in order["lines"]
                for each in line["allocations"]
                if each.get("task") == task and each["quantities"].get("allocated")
            ]
            if of_task:
                line, allocation = of_task[0]
                missing = {"line": line["id"], "quantity": 1, "reason": "not found"}
                rest = [
                    {"line": line["id"], "quantity": units - (line["id"] == missing["line"])}
                    for line, each in of_task
                    if (units := each["quantities"]["allocated"]) > (line["id"] == missing["line"])
                ]
                body = {"picked": rest, "short": [missing]}
        reply = await self.post("pick", f"/v1/tasks/{task}/pick", body, STEP_CODES)
        if not reply.is_success:
            return None
        if body is not None:
            self.lived.account.move(line["sku"], allocation["location"], -1)
        return reply.document()

    async def _hand_over(
        self, order_id: str, task: str, picked: dict[str, Any], *, is_pickup: bool
    ) -> None:
        """Let the goods leave; the app tells, the till, or both of the same."""
        teller = self.chance.random()
        told: Counter[str] = Counter()
        if teller < 0.1:
            told = await self._tell_by_till(order_id, task)
        if teller < 0.05:
            await self._see_decided(order_id, task)
            return
        verb, body = "ship", {"carrier": "post", "tracking_number": task[-12:]}
        if is_pickup:
            order = await self.order(order_id)
            verb, body = "collect", {"pickup_code": order.get("pickup_code", "")}
            if self.chance.random() < 0.02:
                wrong = {"pickup_code": "no such code"}
                await self.post("error", f"/v1/tasks/{task}/collect", wrong, WRONG_CODES)
        reply = await self.post(verb, f"/v1/tasks/{task}/{verb}", body, STEP_CODES)
        if reply.is_success:
            for sku, units in left_besides(reply.document(), told).items():
                self._leave(order_id, sku, picked["location"], units)

    async def _tell_by_till(self, order_id: str, task: str) -> Counter[str]:
        """Let a till tell of all that a task hands over; answer the units of each SKU."""
        told: Counter[str] = Counter()
        order = await self.order(order_id)
        for line in order["lines"]:
            for each in line["allocations"]:
                units = units_in_hands(each, task)
                if not units:
                    continue
                event = {"type": "sale", "location": each["location"], "sku": line["sku"]}
                event |= {"quantity": units, "allocation_id": each["id"]}
                if await self.claim(event):
                    self._leave(order_id, line["sku"], each["location"], units)
                    told[line["sku"]] += units
        return told

    async def _see_decided(self, order_id: str, task: str) -> None:
        """Wait until what a till has told of is the order's; cancelled before, it would not be.

        A claim is acknowledged once it is in the log, and decided a moment later.
        """
        for _ in range(DECIDED_LOOKS):
            order = await self.order(order_id)
            allocations = [each for line in order["lines"] for each in line["allocations"]]
            if not any(units_in_hands(each, task) for each in allocations):
                return
            await self.pause()

    def _leave(self, order_id: str, sku: str, location: str, units: int) -> None:
        self.lived.account.move(sku, location, -units)
        self.lived.left[order_id] += units


def units_in_hands(allocation: dict[str, Any], task: str) -> int:
    """Count the units of an allocation that a task has taken off the shelf and not handed over."""
    if allocation.get("task") != task:
        return 0
    return sum(allocation["quantities"].get(status, 0) for status in IN_HANDS)


def left_besides(task: dict[str, Any], told: Counter[str]) -> Counter[str]:
    """Count the units of each SKU that a task has handed over and no till has told of.

    A line of a task may be there twice: what was sourced again may come back to where it was.
    """
    left: Counter[str] = Counter()
    for line in task["lines"]:
        left[line["sku"]] += line["handed_over"]
    left.subtract(told)
    return left
