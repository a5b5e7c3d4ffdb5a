"""Bad weather for a replay: events twice, events out of order, and things that are no events.

None of it changes the result. Duplicates have the effect of once, all stock events commute, and
rubbish goes to the dead letters.
"""

from __future__ import annotations

import heapq
import itertools
import random
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from onhand.log.base import NewRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Disturbance(msgspec.Struct, frozen=True, kw_only=True):
    """Fractions of events to disturb, each 0 to 1, and how far an event may be moved."""

    duplicates: Fraction = 0.0
    disorder: Fraction = 0.0
    rubbish: Fraction = 0.0
    distance_max: int = 5_000


class Tally(msgspec.Struct):
    """What was mixed in; filled while the events pass."""

    duplicate_count: int = 0
    displaced_count: int = 0
    rubbish_count: int = 0


def disturb(
    records: Iterable[NewRecord], disturbance: Disturbance, tally: Tally, seed: int = 0
) -> Iterator[NewRecord]:
    """Pass records on, some twice, some late, some followed by rubbish.

    At most ``distance_max`` records are held back at a time on average; all come out.
    """
    chance = random.Random(seed)  # noqa: S311 - reproducible weather, not a secret
    waiting: list[tuple[int, int, NewRecord]] = []
    ticket = itertools.count()
    rubbish = itertools.cycle(RUBBISH)
    for position, record in enumerate(records):
        while waiting and waiting[0][0] <= position:
            yield heapq.heappop(waiting)[2]
        later = position + chance.randint(1, disturbance.distance_max)
        if chance.random() < disturbance.duplicates:
            tally.duplicate_count += 1
            heapq.heappush(waiting, (later, next(ticket), record))
        if chance.random() < disturbance.rubbish:
            tally.rubbish_count += 1
            yield spoil(record, next(rubbish))
        if chance.random() < disturbance.disorder:
            tally.displaced_count += 1
            heapq.heappush(waiting, (later, next(ticket), record))
        else:
            yield record
    while waiting:
        yield heapq.heappop(waiting)[2]


def spoil(record: NewRecord, how: Callable[[dict[str, Any]], Any]) -> NewRecord:
    """Turn a good event into one that must be refused whole, under an id of its own."""
    event = msgspec.json.decode(record.value)
    event["id"] = f"spoilt-{event['id']}"
    spoilt = how(event)
    value = spoilt if isinstance(spoilt, bytes) else msgspec.json.encode(spoilt)
    return NewRecord(topic=record.topic, value=value, key=record.key)


def _with(**fields: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda event: {**event, **fields}


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda event: {key: value for key, value in event.items() if key != name}


def _one_bad_line(event: dict[str, Any]) -> dict[str, Any]:
    # All or none: the good lines beside the bad one must not be applied either.
    return {**event, "lines": [*event["lines"][:999], {"sku": "bad-line", "quantity": 0}]}


def _line(**line: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda event: {**event, "lines": [{"sku": "bad-line", "quantity": 1, **line}]}


RUBBISH: Final[tuple[Callable[[dict[str, Any]], Any], ...]] = (
    lambda _: b"\x00\xff\xfe rubbish",
    lambda event: msgspec.json.encode(event)[:-7],
    lambda _: b"[]",
    lambda _: b'"sale"',
    _with(type="sail"),
    _with(type=None),
    _without("id"),
    _with(id=""),
    _with(id="x" * 129),
    _without("occurred_at"),
    lambda event: {**event, "occurred_at": event["occurred_at"].removesuffix("Z")},
    _with(occurred_at="2999-01-01T00:00:00Z"),
    _without("location"),
    _with(location="x" * 65),
    _with(lines=[]),
    _one_bad_line,
    _line(quantity=-1),
    _line(quantity=1.5),
    _line(quantity="1"),
    _line(quantity=2_147_483_648),
    _line(sku=""),
    lambda event: {**event, "type": "transfer_shipped", "transfer_id": "t", "from": "a", "to": "a"},
)
"""Ways to spoil an event, used in turn."""
