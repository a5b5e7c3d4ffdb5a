"""What decoding hands to applying: columns, and the records that are no events.

``EVENT`` and ``LINE`` mirror ``oh_event_t`` and ``oh_line_t`` of ``native/include/onhand/batch.h``;
a test compares every field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from onhand.model.codes import RejectCode

EVENT = np.dtype(
    [
        ("id_hi", np.uint64),
        ("id_lo", np.uint64),
        ("offset", np.int64),
        ("append_us", np.int64),
        ("occurred_us", np.int64),
        ("sequence", np.int64),
        ("first_line", np.uint32),
        ("line_count", np.uint32),
        ("source_off", np.uint32),
        ("location_off", np.uint32),
        ("from_off", np.uint32),
        ("reference_off", np.uint32),
        ("expected_day", np.int32),
        ("partition", np.uint16),
        ("source_len", np.uint16),
        ("id_len", np.uint16),
        ("location_len", np.uint16),
        ("from_len", np.uint16),
        ("reference_len", np.uint16),
        ("type", np.uint8),
        ("disposition", np.uint8),
        ("reserved", np.uint8, (6,)),
    ],
    align=True,
)
"""One accepted event, 96 bytes."""

LINE = np.dtype(
    [
        ("sku_hash", np.uint64),
        ("sku_off", np.uint32),
        ("event", np.uint32),
        ("quantity", np.int32),
        ("sku_len", np.uint16),
        ("reserved", np.uint16),
    ],
    align=True,
)
"""One (event, sku), 24 bytes."""

DISPOSITION_NUMBERS = {"sellable": 1, "inspect": 2, "damaged": 3}
"""``enum oh_disposition``; 0 is none."""

TYPE_NUMBERS = {
    "sale": 1,
    "receipt": 2,
    "expected": 3,
    "transfer_shipped": 4,
    "transfer_received": 5,
    "transfer_lost": 6,
    "return": 7,
    "inspected": 8,
    "count": 9,
    "adjustment": 10,
}
"""``enum oh_event_type``."""


class Reject(msgspec.Struct, frozen=True):
    """One record that is refused, and why.

    ``record`` is its index in the poll, ``type`` the event's type where that could be read,
    ``pointer`` a JSON pointer (RFC 6901) to the field that breaks the rule, ``detail`` the rule.
    """

    record: int
    type: str | None
    code: RejectCode
    pointer: str
    detail: str


class Batch:
    """One poll of the log, decoded and judged.

    Parameters
    ----------
    events, lines
        Columns in the order of the records; ``lines`` follow their events.
    heap
        The strings that both refer to.

    Notes
    -----
    ``next_offsets`` maps a partition's index to the offset after this poll, all records counted;
    ``progress_us`` and ``lag_events`` are the reader's and set by the flow;
    ``ids_since_us`` and ``counts_since_us`` are the horizons that the batch was judged with.
    ``slow`` lists the records that the native way declined, by their index; ``on_applied``, if
    there is one, is to be called by every shard that has applied the batch, with the time.
    """

    __slots__ = (
        "claims",
        "counts_since_us",
        "events",
        "heap",
        "ids_since_us",
        "lag_events",
        "lines",
        "next_offsets",
        "on_applied",
        "progress_us",
        "rejects",
        "slow",
        "unknown_fields",
    )

    def __init__(
        self,
        events: NDArray[Any] | None = None,
        lines: NDArray[Any] | None = None,
        heap: bytes | bytearray = b"",
    ) -> None:
        self.events: NDArray[Any] = np.empty(0, EVENT) if events is None else events
        self.lines: NDArray[Any] = np.empty(0, LINE) if lines is None else lines
        self.heap = heap
        self.next_offsets: dict[int, int] = {}
        self.progress_us = 0
        self.lag_events = 0
        self.ids_since_us = 0
        self.counts_since_us = 0
        self.rejects: list[Reject] = []
        self.claims: list[int] = []
        self.slow: list[int] = []
        self.unknown_fields = 0
        self.on_applied: Callable[[int], None] | None = None
