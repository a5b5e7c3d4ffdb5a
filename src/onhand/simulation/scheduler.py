"""What happens next: steps of everybody, in an order and with faults that one seed decides.

Each seed also decides how likely every kind of step and fault is, down to never: a world in which
everything always fails finds less than many worlds that each have their own trouble.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from onhand.log.topics import LEDGER, ORDER_EVENTS
from onhand.simulation.faults import Killed
from onhand.simulation.timeline import SECOND_US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from onhand.simulation.trace import Trace
    from onhand.simulation.world import World
    from onhand.simulation.writer import WriterProcess

WEIGHTS: Final = {
    "pass_time": 8,
    "publish": 14,
    "send": 18,
    "poll": 12,
    "apply": 20,
    "write_checkpoint": 3,
    "ask": 14,
    "turn": 14,
    "send_movements": 5,
    "send_events": 3,
    "follow_claims": 4,
    "look": 6,
    "follow_setup": 1,
    "change_safety": 0.3,
    "set_clock": 0.5,
    "kill_ingest": 0.7,
    "kill_writer": 0.7,
    "second_writer": 0.4,
    "crash_host": 0.3,
}
"""How likely each step is, in the world where everything is as it mostly is."""

TROUBLES: Final = ("set_clock", "kill_ingest", "kill_writer", "second_writer", "crash_host")
LOG_FAULTS: Final = ("lost", "lost", "answer_lost", "partly", "killed_before", "killed_after")
LEDGER_FAULTS: Final = ("refused", "lost", "answer_lost", "killed_before", "killed_after")
CLOCK_JUMPS_US: Final = tuple(
    seconds * SECOND_US for seconds in (0, 0, 0, -3_600, -1, 1, 30, 7_200)
)
WAITS_US: Final = (1, 1_000, 20_000, 100_000, SECOND_US, 10 * SECOND_US)
LONG_WAITS_US: Final = (300 * SECOND_US, 3_600 * SECOND_US, 25 * 3_600 * SECOND_US)


class Scheduler:
    """Takes one step after the other in a world.

    Parameters
    ----------
    random
        The same as the world's: everything follows from its seed.
    """

    def __init__(self, world: World, random: Random, trace: Trace) -> None:
        self._world = world
        self._random = random
        self._trace = trace
        self._fault_chance = random.choice((0.0, 0.05, 0.15, 0.3))
        weights = {name: weight * random.choice((0.3, 1, 1, 2)) for name, weight in WEIGHTS.items()}
        for name in TROUBLES:
            weights[name] *= random.choice((0, 1, 3))
        self._names = list(weights)
        self._weights = list(weights.values())
        self._steps: dict[str, Callable[[], str]] = {
            name: getattr(self, f"_{name}") for name in weights
        }

    def step(self) -> None:
        """Let one thing happen."""
        name = self._random.choices(self._names, self._weights)[0]
        self._trace.write(self._world.timeline.now_us, name, self._steps[name]())
        self._world.timeline.advance(self._random.choice((1, 1_000, 5_000)))
        self._world.check_quiet()

    # ---- time ----

    def _pass_time(self) -> str:
        waits = LONG_WAITS_US if self._random.random() < 0.01 else WAITS_US
        wait_us = self._random.choice(waits)
        self._world.timeline.advance(wait_us)
        return str(wait_us)

    def _set_clock(self) -> str:
        world = self._world
        clocks = {
            "log": world.log_clock,
            "ingest": world.ingest_clock,
            "writer": world.writer_clock,
            **{till.name: till.clock for till in world.tills},
        }
        name = self._random.choice(list(clocks))
        clocks[name].offset_us = self._random.choice(CLOCK_JUMPS_US)
        return f"{name} {clocks[name].offset_us}"

    # ---- tills ----

    def _publish(self) -> str:
        return self._random.choice(self._world.tills).publish(self._world.promised)

    def _send(self) -> str:
        till = self._random.choice(self._world.tills)
        if self._is_faulty():
            self._world.log.next_fault = self._random.choice(("lost", "answer_lost"))
        news = till.send(self._world.log)
        self._world.log.next_fault = None
        return f"{till.name} {news}"

    # ---- ingest ----

    def _poll(self) -> str:
        ingest = self._world.ingest
        if ingest is None:
            return self._in_ingest(self._world.open_ingest, ("kill", "down"))
        lane = self._random.randrange(ingest.engine.lane_count)
        # Most polls put nothing out, so most faults of the log meet nothing.
        faults = ("log", "log", "log", "log", "log", "down")
        return self._in_ingest(lambda: ingest.poll(lane), faults, risk=3.0)

    def _apply(self) -> str:
        number = self._random.randrange(self._world.settings.shard_count)
        news = self._in_ingest(lambda: self._world.apply(number), ("kill", "full"))
        return f"{number} {news}"

    def _write_checkpoint(self) -> str:
        ingest = self._world.ingest
        if ingest is None:
            return "no ingest"
        return self._in_ingest(ingest.write_checkpoint, ("kill", "full"))

    def _kill_ingest(self) -> str:
        return self._world.kill_ingest()

    def _crash_host(self) -> str:
        return self._world.crash_host()

    def _in_ingest(
        self, work: Callable[[], str], faults: Sequence[str], *, risk: float = 1.0
    ) -> str:
        """Do something in the ingest process, which may meet a fault and die of it."""
        world, disk, log = self._world, self._world.disk, self._world.log
        if self._is_faulty(risk):
            kind = self._random.choice(faults)
            if kind == "kill":
                disk.kill_after = self._random.randint(0, 12)
            elif kind == "full":
                disk.full_after = self._random.choice((0, 100, 10_000, 300_000))
            elif kind == "log":
                log.next_fault = self._random.choice(LOG_FAULTS)
            else:
                log.down = self._random.randint(1, 4)
        try:
            return work()
        except Killed:
            return f"died {world.kill_ingest()}"
        finally:
            log.next_fault = None
            disk.calm()

    # ---- the order writer, and who asks it ----

    def _ask(self) -> str:
        ask = self._world.clients.next_ask()
        writer = self._some_writer()
        if ask is None or writer is None:
            return "nothing"
        writer.ask(ask)
        return f"{ask.asked.what} {ask.key[:4].hex()} {ask.asked.target}"

    def _turn(self) -> str:
        return self._in_writer(lambda writer: self._world.turn(writer, "turn"))

    def _follow_claims(self) -> str:
        return self._in_writer(lambda writer: self._world.turn(writer, "claims"))

    def _send_movements(self) -> str:
        return self._in_writer(lambda writer: writer.send(LEDGER))

    def _send_events(self) -> str:
        return self._in_writer(lambda writer: writer.send(ORDER_EVENTS))

    def _follow_setup(self) -> str:
        return self._in_writer(lambda writer: writer.follow_setup())

    def _change_safety(self) -> str:
        return self._world.change_safety()

    def _kill_writer(self) -> str:
        writer = self._some_writer()
        return "no writer" if writer is None else self._world.kill_writer(writer)

    def _second_writer(self) -> str:
        return self._world.open_writer()

    def _some_writer(self) -> WriterProcess | None:
        writers = self._world.writers
        return self._random.choice(writers) if writers else None

    def _in_writer(self, work: Callable[[WriterProcess], str]) -> str:
        """Do something in a writer's process, which may meet a fault and die of it."""
        world = self._world
        writer = self._some_writer()
        if writer is None:
            return world.open_writer()
        if self._is_faulty():
            kind = self._random.choice(("commit", "commit", "log", "log down", "down"))
            if kind == "commit":
                world.ledger.next_fault = self._random.choice(LEDGER_FAULTS)
            elif kind == "log":
                world.log.next_fault = self._random.choice(LOG_FAULTS)
            elif kind == "log down":
                world.log.down = self._random.randint(1, 4)
            else:
                world.ledger.down = self._random.randint(1, 4)
        try:
            return f"{writer.epoch} {work(writer)}"
        except Killed:
            return f"died {world.kill_writer(writer)}"
        finally:
            world.log.next_fault = world.ledger.next_fault = None

    # ---- readers ----

    def _look(self) -> str:
        return self._random.choice(self._world.storefronts).look()

    def _is_faulty(self, risk: float = 1.0) -> bool:
        return self._random.random() < risk * self._fault_chance
