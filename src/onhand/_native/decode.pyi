"""Native decoding; the Python face is ``onhand.ingest.decode``."""

from collections.abc import Collection, Sequence
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

@final
class Decoder:
    """One poll on its way into columns: native where it is sure, stopping where it is not."""

    def __new__(
        cls,
        values: Sequence[bytes],
        headers: Sequence[tuple[tuple[str, bytes], ...] | None] | None,
        offsets: NDArray[np.int64],
        append_us: NDArray[np.int64],
        partitions: NDArray[np.uint16],
        ledger_partitions: Collection[int],
        window: tuple[int, int, int, int, int],
    ) -> Self: ...
    def run(self) -> int:
        """Decode on; return the index of the next record to judge in Python, -1 at the end."""

    def append(
        self,
        record: int,
        type_number: int,
        occurred_us: int,
        source: bytes,
        id: bytes,  # noqa: A002
        location: bytes,
        from_location: bytes,
        reference: bytes,
        expected_day: int,
        disposition: int,
        sequence: int,
        skus: list[bytes],
        quantities: list[int],
    ) -> None:
        """Add an event that was judged in Python. Its record must be the one `run` stopped at."""

    def finish(self) -> tuple[NDArray[Any], NDArray[Any], bytes, dict[int, int], int]:
        """Return events, lines, heap, next offset by partition index, count of unknown fields."""
