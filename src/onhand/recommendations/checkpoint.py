"""What a learner writes down to go on from: counts, baskets, and the offsets they stand for.

``DATA/recommendations.checkpoint``. Replaying from its offsets ends in the same counts as never
having stopped. One that cannot be used costs learning anew from what the log still holds.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from onhand.logging import get_logger
from onhand.recommendations.arrays_file import ArraysInvalid, map_arrays, write_arrays
from onhand.recommendations.baskets import Baskets
from onhand.recommendations.pairs import Pairs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onhand.log.base import TopicPartition
    from onhand.settings import Settings

NAME: Final = "recommendations.checkpoint"
FORMAT: Final = 1
_ARRAYS: Final = frozenset(
    {
        *("neighbours", "counts", "bought", "free", "name_ends", "heap"),
        *("basket_key", "basket_begun_us", "basket_end", "basket_item"),
    }
)

log = get_logger(__name__)


class CheckpointMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint stands for."""

    format: int
    log_identity: str
    offsets: list[tuple[str, int, int]]
    half_life_us: int | None
    newest_us: int
    landmark_us: int
    basket_count: int
    forgotten_count: int


class Learnt(msgspec.Struct, frozen=True):
    """A learner's memory, and the offset after the last record in it, by partition."""

    pairs: Pairs
    baskets: Baskets
    offsets: dict[TopicPartition, int]


def new_learnt(settings: Settings) -> Learnt:
    """Begin with nothing."""
    half_life = settings.recommendation_half_life
    return Learnt(
        Pairs(
            items_max=settings.recommendation_items_max,
            width=settings.recommendation_pairs_max,
            half_life_us=None if half_life is None else round(half_life.total_seconds() * 1e6),
        ),
        Baskets(
            count_max=settings.recommendation_baskets_max,
            window_us=round(settings.recommendation_basket_window.total_seconds() * 1e6),
        ),
        {},
    )


def write_checkpoint(
    path: Path, learnt: Learnt, offsets: Mapping[TopicPartition, int], *, log_identity: str
) -> int:
    """Write a checkpoint; it is on disk when this returns its size in bytes."""
    pairs = learnt.pairs
    count = len(pairs.names)
    encoded = [name.encode() for name in pairs.names]
    meta = CheckpointMeta(
        format=FORMAT,
        log_identity=log_identity,
        offsets=[(*partition, offset) for partition, offset in sorted(offsets.items())],
        half_life_us=pairs.half_life_us,
        newest_us=pairs.newest_us,
        landmark_us=pairs.landmark_us,
        basket_count=pairs.basket_count,
        forgotten_count=pairs.forgotten_count,
    )
    arrays: dict[str, Any] = {
        "neighbours": pairs.neighbours[:count],
        "counts": pairs.counts[:count],
        "bought": pairs.bought[:count],
        "free": np.array(pairs.free, np.uint32),
        "name_ends": np.cumsum(list(map(len, encoded)), dtype=np.uint32),
        "heap": np.frombuffer(b"".join(encoded), np.uint8),
        **learnt.baskets.columns(),
    }
    return write_arrays(path, meta, arrays, durable=True)


def load_checkpoint(path: Path, settings: Settings, *, log_identity: str) -> Learnt:
    """Load what was learnt; nothing when there is no checkpoint, or none of this log.

    Another half-life than the checkpoint's begins anew: its counts mean something else.
    """
    learnt = new_learnt(settings)
    try:
        mapped = map_arrays(path, CheckpointMeta, _ARRAYS)
    except FileNotFoundError:
        return learnt
    except (ArraysInvalid, OSError) as error:
        log.warning("recommendations_begun_anew", reason=str(error))
        return learnt
    meta = mapped.meta
    reason = _unusable(meta, learnt.pairs, log_identity)
    if reason is not None:
        log.warning("recommendations_begun_anew", reason=reason)
        return learnt
    columns, pairs = mapped.arrays, learnt.pairs
    pairs.restore(
        _names(columns["name_ends"].tolist(), columns["heap"].tobytes()),
        columns["neighbours"],
        columns["counts"],
        columns["bought"],
    )
    pairs.free = columns["free"].tolist()
    pairs.newest_us, pairs.landmark_us = meta.newest_us, meta.landmark_us
    pairs.basket_count, pairs.forgotten_count = meta.basket_count, meta.forgotten_count
    learnt.baskets.load(columns)
    learnt.offsets.update({(topic, number): offset for topic, number, offset in meta.offsets})
    return learnt


def _unusable(meta: CheckpointMeta, pairs: Pairs, log_identity: str) -> str | None:
    if meta.format != FORMAT:
        return f"the checkpoint has format {meta.format}, this onhand writes {FORMAT}"
    if meta.log_identity != log_identity:
        return f"the checkpoint belongs to the log {meta.log_identity}"
    if meta.half_life_us != pairs.half_life_us:
        return "recommendation_half_life is another than the checkpoint's"
    return None


def _names(ends: list[int], heap: bytes) -> list[str]:
    return [heap[begin:end].decode() for begin, end in itertools.pairwise([0, *ends])]
