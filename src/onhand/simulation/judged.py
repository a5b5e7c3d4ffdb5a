"""What the naive model makes of every record of the log, once for all who ask."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from onhand.log.topics import CLAIMS, DEAD_LETTERS, EVENT_TOPICS, LEDGER
from onhand.simulation.shelf import Verdict, read_json, verdict

if TYPE_CHECKING:
    from onhand.log.base import Record, TopicPartition

_ORIGINS = {
    DEAD_LETTERS: (
        "__connect.errors.topic",
        "__connect.errors.partition",
        "__connect.errors.offset",
    ),
    CLAIMS: ("onhand.origin.topic", "onhand.origin.partition", "onhand.origin.offset"),
}


class JudgedRecord:
    """A record with its verdict, and whether what it causes is in the log."""

    __slots__ = ("event", "is_passed_on", "record", "verdict")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.event: dict[str, Any] = read_json(record.value) or {}
        self.verdict: Verdict = verdict(record, self.event)
        self.is_passed_on = False


class Judged:
    """Every record that supply reads, judged as it enters the log."""

    def __init__(self) -> None:
        self._of: dict[TopicPartition, list[JudgedRecord]] = {}
        self._at: dict[tuple[str, int, int], JudgedRecord] = {}
        self.ids: set[tuple[str, str]] = set()
        """Of every event that is in the log."""
        self.wrongly_passed_on: list[Record] = []

    def take(self, record: Record) -> None:
        """Take a record that the log has taken."""
        if record.topic in EVENT_TOPICS or record.topic == LEDGER:
            judged = JudgedRecord(record)
            self._of.setdefault((record.topic, record.partition), []).append(judged)
            self._at[record.topic, record.partition, record.offset] = judged
            if judged.event:
                self.ids.add((judged.event["source"], judged.event["id"]))
        elif record.topic in _ORIGINS:
            self._note_output(record)

    def partitions(self) -> list[TopicPartition]:
        """List the partitions that have records."""
        return list(self._of)

    def event_at(self, record: Record) -> dict[str, Any]:
        """Return the event of a record."""
        return self._at[record.topic, record.partition, record.offset].event

    def between(self, partition: TopicPartition, start: int, end: int) -> list[JudgedRecord]:
        """List the records of a partition from one offset up to another."""
        records = self._of.get(partition, [])
        return records[_place(records, start) : _place(records, end)]

    def all(self) -> list[JudgedRecord]:
        """List every record."""
        return list(self._at.values())

    def first_after(self, partition: TopicPartition, offset: int) -> JudgedRecord | None:
        """Return the first record from an offset on, None when there is none yet."""
        records = self._of.get(partition, [])
        place = _place(records, offset)
        return records[place] if place < len(records) else None

    def _note_output(self, record: Record) -> None:
        headers = dict(record.headers)
        topic, partition, offset = (headers[name].decode() for name in _ORIGINS[record.topic])
        if topic == CLAIMS:
            return  # One that the order writer could not read.
        origin = self._at[topic, int(partition), int(offset)]
        origin.is_passed_on = True
        wanted = "refused" if record.topic == DEAD_LETTERS else "claim"
        if origin.verdict != wanted:
            self.wrongly_passed_on.append(record)


def _place(records: list[JudgedRecord], offset: int) -> int:
    return bisect_left(records, offset, key=lambda each: each.record.offset)
