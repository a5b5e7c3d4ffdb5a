"""From a poll of the log to sales: what was bought together, as ingest would accept it.

Polls are judged by the same rules as ingest's, so an event that is refused teaches nothing. Claims
teach nothing either: the order layer decides them, and what it makes of them comes by
``stock.ledger``, as do the packages of orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from onhand.ingest.decode import Window, decode_batch
from onhand.model.batch import TYPE_NUMBERS
from onhand.model.envelope import read_event
from onhand.recommendations.baskets import basket_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from onhand.log.base import RawBatch
    from onhand.model.batch import Batch
    from onhand.model.envelope import Headers
    from onhand.settings import Settings

_SALE: Final = TYPE_NUMBERS["sale"]
_OFFSET_BITS: Final = 47


class Sale(NamedTuple):
    """Items sold in one event; sales with one ``key`` may be of one basket."""

    key: int
    occurred_us: int
    skus: list[str]


class _Told(msgspec.Struct):
    """What a plain event says of its basket; an envelope says something else."""

    type: str | None = None
    basket_id: str | None = None
    order_id: str | None = None
    specversion: object = None


_decode_told = msgspec.json.Decoder(_Told).decode


def window_of(settings: Settings) -> Window:
    """Return the rules of time that ingest judges by, save what only its tables know."""
    return Window(late_us=settings.late_us, count_us=settings.count_us)


def gather_sales(
    raw: RawBatch, window: Window, ledger_partitions: Collection[int] = frozenset()
) -> list[Sale]:
    """List the sales of a poll, in the order of the log; about 3 us each."""
    if not len(raw):
        return []
    batch = decode_batch(raw, window, ledger_partitions)
    events = batch.events
    chosen = np.flatnonzero(events["type"] == _SALE)
    if not len(chosen):
        return []
    indexes = _record_indexes(raw, batch)[chosen].tolist()
    sales = events[chosen]
    columns = zip(
        indexes,
        sales["id_lo"].tolist(),
        sales["occurred_us"].tolist(),
        sales["first_line"].tolist(),
        sales["line_count"].tolist(),
        sales["location_off"].tolist(),
        sales["location_len"].tolist(),
        strict=True,
    )
    skus = _skus(batch)
    heap = batch.heap
    gathered = []
    for index, event_id, occurred_us, first, count, location_off, location_len in columns:
        headers = raw.headers[index] if raw.headers else None
        told = _told(raw.values[index], headers or ())
        if told.basket_id is not None:
            location = heap[location_off : location_off + location_len].decode()
            key = basket_key(location, told.basket_id)
        elif told.order_id is not None:
            # Its packages come from several locations.
            key = basket_key("", told.order_id)
        else:
            key = event_id
        gathered.append(Sale(key, occurred_us, skus[first : first + count]))
    return gathered


def _skus(batch: Batch) -> list[str]:
    heap = batch.heap
    begins, lengths = batch.lines["sku_off"].tolist(), batch.lines["sku_len"].tolist()
    return [
        heap[begin : begin + length].decode() for begin, length in zip(begins, lengths, strict=True)
    ]


def _record_indexes(raw: RawBatch, batch: Batch) -> Any:
    """Find the record of each event: both are in the order of the poll."""
    records = (raw.partitions.astype(np.int64) << _OFFSET_BITS) | raw.offsets
    events = (batch.events["partition"].astype(np.int64) << _OFFSET_BITS) | batch.events["offset"]
    return np.flatnonzero(np.isin(records, events))


def _told(value: bytes, headers: Headers) -> _Told:
    """Read what an accepted sale says of its basket."""
    try:
        told = _decode_told(value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _Told()
    if told.type == "sale" and told.specversion is None:
        return told
    # An envelope, or MessagePack: the event is inside.
    return msgspec.convert(read_event(value, headers)[0], _Told)
