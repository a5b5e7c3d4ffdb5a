"""Conservation: what came in less what left, summed from events, is what lies somewhere.

The sum is made beside the table and by other arithmetic than the table's: units are added up by SKU
and by what happened to them, and whatever nobody moved has to be where it was.

::

    received - handed over + returned + adjusted + found by counts - lost on the way
        = on hand + held + damaged + in transit

A transfer and an inspection move units and change no sum. A count finds, or misses, what lies
between its number and all movements of its cell up to its time; later ones stay. About 30 bytes are
kept of every line meanwhile, since a later count may take any of them in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from onhand.model.batch import TYPE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from onhand.model.batch import Batch

LOCATION_BITS: Final = 16
_SEQUENCE_KEY: Final = np.uint64(0x9E3779B97F4A7C15)
_COUNT: Final = TYPE_NUMBERS["count"]
_SHIPPED: Final = TYPE_NUMBERS["transfer_shipped"]

FLOWS: Final = {
    "received": "receipt",
    "handed_over": "sale",
    "returned": "return",
    "adjusted": "adjustment",
    "lost": "transfer_lost",
}
"""What changes how many there are, and the event that does."""

_LEAVING: Final = frozenset({"handed_over", "lost"})


class Unconserved(msgspec.Struct, frozen=True, order=True):
    """A SKU of which more or fewer units lie somewhere than its events say."""

    sku: str
    lying: int
    moved: int


class Conserved(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to all units, where they lie, and the SKUs whose sums differ."""

    received: int
    handed_over: int
    returned: int
    adjusted: int
    counted: int
    lost: int
    on_hand: int
    held: int
    damaged: int
    in_transit: int
    sku_count: int
    differences: list[Unconserved]

    def words(self) -> str:
        """Write the sum as one line."""
        return (
            f"{self.received} received - {self.handed_over} handed over + {self.returned} returned "
            f"{_signed(self.adjusted)} adjusted {_signed(self.counted)} found by counts "
            f"- {self.lost} lost on the way = {self.on_hand} on hand + {self.held} held + "
            f"{self.damaged} damaged + {self.in_transit} in transit"
        )


class Tally:
    """Sums events, each once; made for a log that is read from its beginning."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._skus: dict[int, int] = {}
        self._names: list[str] = []
        self._locations: dict[bytes, int] = {}
        self._flows = {name: np.zeros(0, np.int64) for name in FLOWS}
        self._moved: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        self._counts: dict[int, tuple[int, bytes, bytes, int]] = {}

    def add(self, batch: Batch) -> None:
        """Take the events of a batch; those known already change nothing."""
        fresh = self._seen.fresh(_keys(batch.events))
        lines = batch.lines[fresh[batch.lines["event"]]]
        if not len(lines):
            return
        events = batch.events[lines["event"]]
        sku = self._number_skus(lines, batch.heap)
        for name, kind in FLOWS.items():
            chosen = events["type"] == TYPE_NUMBERS[kind]
            units = lines["quantity"][chosen].astype(np.int64)
            np.add.at(self._flow(name), sku[chosen], units)
        here, source = self._number_places(batch, fresh)
        place = np.where(events["type"] == _SHIPPED, source[lines["event"]], here[lines["event"]])
        cell = (sku << LOCATION_BITS) | place
        sign = _SIGNS[events["type"], events["disposition"]]
        moving = sign != 0
        moved = (sign * lines["quantity"])[moving]
        self._moved.append((cell[moving], events["occurred_us"][moving], moved))
        for index in np.flatnonzero(events["type"] == _COUNT).tolist():
            self._count(int(cell[index]), events[index], int(lines["quantity"][index]), batch.heap)

    def against(self, lying: Mapping[str, tuple[int, ...]]) -> Conserved:
        """Compare with what lies somewhere.

        Parameters
        ----------
        lying
            By SKU: units on hand, held, in transit and damaged, of all locations.
        """
        found = self._found()
        total = found.copy()
        for name in FLOWS:
            total += -self._flow(name) if name in _LEAVING else self._flow(name)
        moved = dict(zip(self._names, total.tolist(), strict=True))
        sums = np.array(list(lying.values()), np.int64).reshape(-1, 4).sum(axis=0)
        on_hand, held, in_transit, damaged = sums.tolist()
        return Conserved(
            **{name: int(self._flow(name).sum()) for name in FLOWS},
            counted=int(found.sum()),
            on_hand=on_hand,
            held=held,
            in_transit=in_transit,
            damaged=damaged,
            sku_count=len(moved | dict(lying)),
            differences=sorted(_differences(moved, lying)),
        )

    def _found(self) -> NDArray[np.int64]:
        """Sum by SKU what newest counts have found beyond the movements that they take in."""
        found = np.zeros(len(self._names), np.int64)
        if not self._counts:
            return found
        cells = np.array(sorted(self._counts), np.int64)
        newest = [self._counts[cell] for cell in cells.tolist()]
        until_us = np.array([each[0] for each in newest], np.int64)
        np.add.at(found, cells >> LOCATION_BITS, np.array([each[3] for each in newest], np.int64))
        for cell, occurred_us, moved in self._moved:
            at = np.minimum(np.searchsorted(cells, cell), len(cells) - 1)
            taken_in = (cells[at] == cell) & (occurred_us <= until_us[at])
            np.subtract.at(found, cell[taken_in] >> LOCATION_BITS, moved[taken_in])
        return found

    def _count(self, cell: int, event: Any, quantity: int, heap: bytes | bytearray) -> None:
        """Keep the newest count of a cell: of the same time, the greater source and id."""
        begin = int(event["source_off"])
        middle = begin + int(event["source_len"])
        source, name = heap[begin:middle], heap[middle : middle + int(event["id_len"])]
        count = (int(event["occurred_us"]), bytes(source), bytes(name), quantity)
        self._counts[cell] = max(count, self._counts.get(cell, count))

    def _number_skus(self, lines: NDArray[Any], heap: bytes | bytearray) -> NDArray[np.int64]:
        hashes, first, inverse = np.unique(
            lines["sku_hash"], return_index=True, return_inverse=True
        )
        numbers = np.empty(len(hashes), np.int64)
        for at, (value, line) in enumerate(zip(hashes.tolist(), first.tolist(), strict=True)):
            number = self._skus.get(value)
            if number is None:
                number = self._skus[value] = len(self._names)
                begin = int(lines["sku_off"][line])
                self._names.append(heap[begin : begin + int(lines["sku_len"][line])].decode())
            numbers[at] = number
        return numbers[inverse]

    def _number_places(
        self, batch: Batch, fresh: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give each event's location a number and, of transfers, the place that they come from."""
        columns = []
        for name in ("location", "from"):
            numbers = np.zeros(len(fresh), np.int64)
            spans = zip(
                batch.events[f"{name}_off"].tolist(),
                batch.events[f"{name}_len"].tolist(),
                strict=True,
            )
            for at, (begin, length) in enumerate(spans):
                if length and fresh[at]:
                    text = bytes(batch.heap[begin : begin + length])
                    numbers[at] = self._locations.setdefault(text, len(self._locations))
            columns.append(numbers)
        return columns[0], columns[1]

    def _flow(self, name: str) -> NDArray[np.int64]:
        """Return what happened by SKU, as long as there are SKUs."""
        flow = self._flows[name]
        if len(flow) < len(self._names):
            grown = np.zeros(max(1024, 2 * len(self._names)), np.int64)
            grown[: len(flow)] = flow
            flow = self._flows[name] = grown
        return flow[: len(self._names)]


class Seen:
    """Keys met so far, in sorted runs each more than twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def fresh(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell which keys are met for the first time, and remember them."""
        is_fresh = np.zeros(len(keys), np.bool_)
        run, first = np.unique(keys, return_index=True)
        unknown = np.ones(len(run), np.bool_)
        for known in self._runs:
            at = np.minimum(np.searchsorted(known, run), len(known) - 1)
            unknown &= known[at] != run
        is_fresh[first[unknown]] = True
        run = run[unknown]
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)))
        if len(run):
            self._runs.append(run)
        return is_fresh


def _keys(events: NDArray[Any]) -> NDArray[np.uint64]:
    """Name each event by 64 bits: one of the ledger by its sequence, any other by its id."""
    by_id = events["id_hi"] ^ (events["id_lo"] << np.uint64(1))
    by_sequence = events["sequence"].astype(np.uint64) * _SEQUENCE_KEY
    keys: NDArray[np.uint64] = np.where(events["sequence"] > 0, by_sequence, by_id)
    return keys


def _signs() -> NDArray[np.int64]:
    """Say by type and disposition what an event does to on_hand at the place that it is about."""
    signs = np.zeros((max(TYPE_NUMBERS.values()) + 1, 4), np.int64)
    for kind in ("receipt", "adjustment", "transfer_received"):
        signs[TYPE_NUMBERS[kind]] = 1
    for kind in ("sale", "transfer_shipped"):
        signs[TYPE_NUMBERS[kind]] = -1
    for kind in ("return", "inspected"):
        signs[TYPE_NUMBERS[kind], 1] = 1
    return signs


_SIGNS: Final = _signs()


def _differences(
    moved: Mapping[str, int], lying: Mapping[str, tuple[int, ...]]
) -> Iterator[Unconserved]:
    for sku in moved.keys() | lying.keys():
        there = sum(lying.get(sku, ()))
        if there != moved.get(sku, 0):
            yield Unconserved(sku, there, moved.get(sku, 0))


def _signed(units: int) -> str:
    return f"{'-' if units < 0 else '+'} {abs(units)}"
