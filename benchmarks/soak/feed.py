"""Stock events of every kind by the clock, half of them posted and half straight into the log.

Some come twice, some out of order, some late, some are rubbish; movements that belong together
(a transfer shipped and received, units held and inspected) follow each other after a while.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.soak.account import Account, Cell
from benchmarks.soak.client import RETRY_S, Client, Said, Shift, by_the_clock
from benchmarks.soak.latencies import Latencies
from benchmarks.soak.world import COUNTED_EVERY, OPENING_STORE_UNITS, written
from onhand.configuration import load_settings
from onhand.errors import LogUnavailable
from onhand.ingest.publish import TOPIC_OF_TYPE
from onhand.log import open_log
from onhand.log.base import NewRecord
from onhand.replay.disorder import RUBBISH, Disturbance, Tally, disturb, spoil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.soak.world import World

BATCH_S = 0.01
"""What came due is sent this often, in turn over HTTP and into the log."""

PROBE_S = 0.1
PROBE = ("probe", "store-000")
"""One unit more, this often, answered when reads see it."""

WEATHER = Disturbance(duplicates=0.01, disorder=0.05, distance_max=500)
RUBBISH_SHARE = 0.001
LATE_SHARE, LATE_S_MAX = 0.02, 300.0
"""Far within what is remembered at full rate: what is late is taken, never refused as forgotten."""

COUNT_LATE_S_MAX = 20.0
FOLLOW_UP_S = (1.0, 20.0)
CONNECTIONS = 128
APPEND_S_MAX = 300.0
HTTP_ACCEPTED = 202


class Fed(msgspec.Struct):
    """What was published and acknowledged."""

    account: Account
    latencies: Any
    said: Said
    event_count: int = 0
    duplicate_count: int = 0
    displaced_count: int = 0
    rubbish_count: int = 0
    refused_count: int = 0
    probe_units: int = 0


class Events:
    """An endless stream of events, each counted to the account as it is made.

    Parameters
    ----------
    world
        Where what is sold.
    seed
        Decides everything but the times.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.account = Account()
        self.rubbish_count = 0
        self._world = world
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._run = f"{random.SystemRandom().getrandbits(32):08x}"
        self._later: list[tuple[float, int, dict[str, Any]]] = []
        self._rubbish = itertools.cycle(RUBBISH)
        self._is_finished = False
        self._makers: dict[Callable[[], dict[str, Any]], float] = {
            self._sale: 0.72,
            self._receipt: 0.10,
            self._expected: 0.02,
            self._transfer_shipped: 0.05,
            self._return: 0.05,
            self._count: 0.03,
            self._adjustment: 0.03,
        }

    def records(self) -> Iterator[NewRecord]:
        """Make events until :meth:`finish`, then what is still to follow."""
        makers, weights = list(self._makers), list(self._makers.values())
        while not self._is_finished:
            if self._later and self._later[0][0] <= time.monotonic():
                yield self._record(heapq.heappop(self._later)[2])
            record = self._record(self._chance.choices(makers, weights)[0]())
            yield record
            if record.topic == "stock.sales" and self._chance.random() < RUBBISH_SHARE:
                self.rubbish_count += 1
                yield spoil(record, next(self._rubbish))

        while self._later:
            yield self._record(heapq.heappop(self._later)[2])

    def finish(self) -> None:
        """Begin nothing more."""
        self._is_finished = True

    def _record(self, event: dict[str, Any]) -> NewRecord:
        number = next(self._numbers)
        late_s = self._chance.random() * 0.5
        if event["type"] == "count":
            late_s = self._chance.random() * COUNT_LATE_S_MAX
        elif self._chance.random() < LATE_SHARE:
            late_s = self._chance.random() * LATE_S_MAX
        head = {
            "id": f"{self._run}-{number}",
            "source": f"till-{number % 300}",
            "occurred_at": written(time.time() - late_s),
        }
        value = msgspec.json.encode(head | event)
        return NewRecord(TOPIC_OF_TYPE[event["type"]], value, b"%d" % (number % 997))

    def _lines(self, location: str | None, count_max: int, units_max: int) -> tuple[str, list]:
        """Draw SKUs that one store sells; the store when it is not given."""
        first = self._world.draw(self._chance)
        location = location or self._world.store_of(first, self._chance.randrange(1_000))
        numbers = {first}
        for _ in range(self._chance.randint(1, count_max) - 1):
            numbers.add(self._world.draw(self._chance))
        units = self._chance.randint
        return location, [(self._world.sku(each), units(1, units_max)) for each in sorted(numbers)]

    def _move(self, location: str, lines: list[tuple[str, int]], sign: int) -> list[dict[str, Any]]:
        for sku, units in lines:
            self.account.move(sku, location, sign * units)
        return _written_lines(lines)

    def _follow(self, event: dict[str, Any]) -> None:
        at_s = time.monotonic() + self._chance.uniform(*FOLLOW_UP_S)
        heapq.heappush(self._later, (at_s, next(self._numbers), event))

    def _sale(self) -> dict[str, Any]:
        location, lines = self._lines(None, 3, 2)
        event: dict[str, Any] = {"type": "sale", "location": location}
        if self._chance.random() < 0.3:
            event["customer_id"] = f"customer-{self._chance.randrange(20_000)}"
            event["basket_id"] = f"basket-{self._run}-{next(self._numbers)}"
        return event | {"lines": self._move(location, lines, -1)}

    def _receipt(self) -> dict[str, Any]:
        location, lines = self._lines(None, 2, 30)
        event: dict[str, Any] = {"type": "receipt", "location": location}
        if self._chance.random() < 0.2:
            event["purchase_order"] = f"purchase-{self._chance.randrange(5_000)}"
        return event | {"lines": self._move(location, lines, 1)}

    def _expected(self) -> dict[str, Any]:
        location, lines = self._lines(None, 2, 40)
        on = dt.datetime.now(dt.UTC).date()
        on += dt.timedelta(days=self._chance.randint(1, 20))
        return {
            "type": "expected",
            "location": location,
            "expected_on": on.isoformat(),
            "purchase_order": f"purchase-{self._chance.randrange(5_000)}",
            "lines": _written_lines(lines),
        }

    def _transfer_shipped(self) -> dict[str, Any]:
        to, lines = self._lines(None, 2, 10)
        out_of = self._chance.choice(self._world.warehouses() or self._world.stores())
        if out_of == to:
            return self._sale()
        written_lines = self._move(out_of, lines, -1)
        transfer = {"transfer_id": f"transfer-{self._run}-{next(self._numbers)}"}
        transfer |= {"from": out_of, "to": to, "lines": written_lines}
        arrives = self._chance.random() < 0.9
        # What is on its way comes or is lost: at the end it is the one or the other.
        if arrives:
            self._move(to, lines, 1)
        self._follow({"type": "transfer_received" if arrives else "transfer_lost"} | transfer)
        return {"type": "transfer_shipped"} | transfer

    def _return(self) -> dict[str, Any]:
        location, lines = self._lines(None, 1, 2)
        disposition = self._chance.choice(("sellable", "sellable", "inspect", "damaged"))
        event = {"type": "return", "location": location, "disposition": disposition}
        if disposition == "sellable":
            self._move(location, lines, 1)
        if disposition == "inspect":
            is_good = self._chance.random() < 0.7
            if is_good:
                self._move(location, lines, 1)
            found = "sellable" if is_good else "damaged"
            inspected = {"type": "inspected", "location": location, "disposition": found}
            self._follow(inspected | {"lines": _written_lines(lines)})
        return event | {"lines": _written_lines(lines)}

    def _count(self) -> dict[str, Any]:
        number = self._world.draw(self._chance)
        number -= number % COUNTED_EVERY
        sku, location = self._world.sku(number), self._world.store_of(number, next(self._numbers))
        cell = Cell(sku, location)
        self.account.counted.add(cell)
        # Near what is there, now and then nothing: promises are then short and must move.
        found = max(
            0, self.account.on_hand[cell] + OPENING_STORE_UNITS + self._chance.randint(-3, 3)
        )
        if self._chance.random() < 0.05:
            found = 0
        return {"type": "count", "location": location, "sku": sku, "quantity": found}

    def _adjustment(self) -> dict[str, Any]:
        location, lines = self._lines(None, 1, 3)
        sign = self._chance.choice((1, -1))
        self._move(location, lines, sign)
        corrected = [{"sku": sku, "delta": sign * units} for sku, units in lines]
        event = {"type": "adjustment", "location": location, "lines": corrected}
        return event | {"reason": "found" if sign > 0 else "broken"}


def feed(flags: dict[str, str], shift: Shift) -> Fed:
    """Publish; return what was acknowledged. ``flags`` say which log it is."""
    return asyncio.run(_Feed(flags, shift).run())


class _Feed:
    def __init__(self, flags: dict[str, str], shift: Shift) -> None:
        self.log = open_log(load_settings(flags))
        self.client = Client(shift.port, CONNECTIONS, Latencies(shift.begun_s))
        self.shift = shift
        self.events = Events(shift.world, 11)
        self.tally = Tally()
        self.fed = Fed(Account(), self.client.latencies, self.client.said)
        self.records = disturb(self.events.records(), WEATHER, self.tally, 12)
        self._is_posted = itertools.cycle((True, False))

    async def run(self) -> Fed:
        await asyncio.gather(
            by_the_clock(self.shift, 1 / BATCH_S, self._send_due, self.client),
            by_the_clock(self.shift, 1 / PROBE_S, self._probe, self.client),
        )
        await self._finish()
        await self.client.close()
        self.log.close()
        fed = self.fed
        fed.account = self.events.account
        fed.duplicate_count = self.tally.duplicate_count
        fed.displaced_count = self.tally.displaced_count
        fed.rubbish_count = self.events.rubbish_count
        return fed

    async def _finish(self) -> None:
        """Let all that was held back come out, and all that was to follow follow."""
        self.events.finish()
        rest = list(self.records)
        for start in range(0, len(rest), 500):
            await self._append(time.monotonic(), rest[start : start + 500])

    async def _send_due(self, due_s: float) -> None:
        share = self.shift.rate * BATCH_S
        number = int((due_s - self.shift.begun_s) / BATCH_S + 0.5)
        count = int((number + 1) * share) - int(number * share)
        batch = list(itertools.islice(self.records, count))
        if not batch:
            return
        send = self._post if next(self._is_posted) else self._append
        await send(due_s, batch)

    async def _append(self, due_s: float, batch: list[NewRecord]) -> None:
        # A broker may be held up; sending again is safe, since events have ids.
        while not await self._try_append(batch):
            assert time.monotonic() < due_s + APPEND_S_MAX, "the log takes nothing"
            await asyncio.sleep(RETRY_S)
        self.client.latencies.observe("append events", due_s, time.monotonic() - due_s)
        self.fed.event_count += len(batch)

    async def _try_append(self, batch: list[NewRecord]) -> bool:
        try:
            await asyncio.wrap_future(self.log.append_nowait(batch))
        except LogUnavailable as error:
            self.client.said.answers[f"append events {error.code}"] += 1
            return False
        return True

    async def _post(self, due_s: float, batch: list[NewRecord]) -> None:
        body = b"\n".join(each.value for each in batch)
        reply = await self.client.ask(
            "post events",
            "POST",
            "/v1/events",
            body,
            due_s=due_s,
            content_type="application/x-ndjson",
        )
        if not reply.is_answer:
            # Whether it was taken nobody knows; events have ids, so they are sent another way.
            await self._append(time.monotonic(), batch)
        elif reply.status == HTTP_ACCEPTED:
            answer = reply.document()
            self.fed.event_count += answer["accepted"]
            self.fed.refused_count += len(answer["rejected"])

    async def _probe(self, due_s: float) -> None:
        sku, location = PROBE
        event = {"type": "receipt", "id": f"probe-{due_s}", "source": f"probe-{self.shift.begun_s}"}
        event |= {"occurred_at": written(time.time()), "sku": sku, "location": location}
        body = msgspec.json.encode([event | {"quantity": 1}])
        # Waiting for longer than 10 s is answered so; what was posted is durable all the same.
        reply = await self.client.ask(
            "post until visible",
            "POST",
            "/v1/events?wait=visible",
            body,
            due_s=due_s,
            expected=frozenset({"not_yet_visible"}),
        )
        self.fed.probe_units += reply.is_success
        if not reply.is_success:
            self.events.account.unanswered.add(sku)


def _written_lines(lines: list[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": units} for sku, units in lines]
