"""A process that only reads: what it sees never goes back, and is never newer than it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onhand.errors import TableUnavailable
from onhand.simulation.faults import must
from onhand.table.reader import TableReader

if TYPE_CHECKING:
    from pathlib import Path

    from onhand.log.base import TopicPartition
    from onhand.simulation.judged import Judged


class Storefront:
    """One reader, which looks now and then."""

    def __init__(self, table_dir: Path, cluster_id: str, judged: Judged) -> None:
        self.reader = TableReader(table_dir, cluster_id)
        self._judged = judged
        self._offsets: dict[TopicPartition, int] = {}
        self._sequence = 0

    def look(self) -> str:
        """Read how far everything is, and find what went back or is older than it says."""
        reader = self.reader
        try:
            reader.refresh()
        except TableUnavailable:
            return "no table"
        progress = reader.progress()
        for partition, offset in progress.offsets.items():
            seen = self._offsets.get(partition, 0)
            must(offset >= seen, "nobody reads from the past", partition, offset, seen)
            left = self._judged.first_after(partition, offset)
            if left is not None:
                late_us = left.record.append_us
                must(
                    progress.as_of_us < late_us,
                    "as_of says what is applied",
                    partition,
                    progress.as_of_us,
                    late_us,
                )
        must(progress.ledger_sequence >= self._sequence, "sequences never go back", progress)
        self._offsets, self._sequence = progress.offsets, progress.ledger_sequence
        return f"as of {progress.as_of_us}"
