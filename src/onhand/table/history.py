"""Recent movements as the table remembers them, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onhand.model.availability import Movement
from onhand.model.batch import TYPE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

EFFECTS = {
    1: "on_hand",
    2: "held",
    4: "in_transit",
    8: "damaged",
    16: "incoming",
    128: "superseded",
}
"""Bits of ``enum oh_effect``."""

_TYPES = {number: name for name, number in TYPE_NUMBERS.items()}

Entry = tuple[int, int, int, int, int, int, int, int]


def movement_of(entry: Entry, partitions: Sequence[tuple[str, int]]) -> Movement:
    """Put one entry of the history ring into words.

    Parameters
    ----------
    partitions
        The writer's partition list, which the entry's partition is an index into.
    """
    position, kind, quantity, effect, occurred_us, append_us, index, offset = entry
    known = index < len(partitions)
    topic, partition = partitions[index] if known else ("unknown", index)
    return Movement(
        position=position,
        type=_TYPES.get(kind, "unknown"),
        quantity=quantity,
        effects=tuple(name for bit, name in EFFECTS.items() if effect & bit),
        occurred_us=occurred_us,
        append_us=append_us,
        topic=topic,
        partition=partition,
        offset=offset,
    )
