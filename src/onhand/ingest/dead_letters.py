"""Dead letters: events that were refused, whole, with the reason and where they came from.

A dead letter is the refused record with its key, value and headers untouched and headers added.
The names of its origin are Kafka Connect's, so that tools which know those understand ours:

    __connect.errors.topic | partition | offset        where it came from
    __connect.errors.exception.message                 the rule it broke, for people
    onhand.code, onhand.pointer                        the rule and the field, for programs
    onhand.append_us                                   when the refused record entered the log
    onhand.size, onhand.sha256                         only when it was cut to its first 64 KiB

That one was sent again is itself a record on the topic, without a value, whose header
``onhand.resubmitted`` names the dead letter's partition and offset.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.errors import FieldError, InvalidInput
from onhand.log.base import NewRecord, Position, Record, TopicPartition, record_bytes
from onhand.log.topics import DEAD_LETTERS, record_bytes_max
from onhand.model.codes import FORCIBLE
from onhand.model.envelope import FORCE_HEADER

if TYPE_CHECKING:
    from onhand.log.base import EventLog, Headers
    from onhand.model.batch import Reject

KEPT_BYTES: Final = 64 << 10
"""How much of a record stays when it is larger than the topic takes."""

PAGE_RECORD_COUNT: Final = 500
MESSAGE_CHARACTERS_MAX: Final = 1_000

_TOPIC: Final = "__connect.errors.topic"
_PARTITION: Final = "__connect.errors.partition"
_OFFSET: Final = "__connect.errors.offset"
_MESSAGE: Final = "__connect.errors.exception.message"
_CODE: Final = "onhand.code"
_POINTER: Final = "onhand.pointer"
_APPEND_US: Final = "onhand.append_us"
_SIZE: Final = "onhand.size"
_SHA256: Final = "onhand.sha256"
_RESUBMITTED: Final = "onhand.resubmitted"
_OURS: Final = frozenset(
    {_TOPIC, _PARTITION, _OFFSET, _MESSAGE, _CODE, _POINTER, _APPEND_US, _SIZE, _SHA256}
)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A refused record as ``stock.dead-letters`` holds it.

    ``partition`` and ``offset`` are its place among the dead letters, ``dead_us`` when it came
    there. ``size_bytes`` is the refused value's; ``sha256`` is set when ``value`` is only its
    beginning. ``resubmitted_us`` is when it was last sent again, None when never.
    """

    partition: int
    offset: int
    dead_us: int
    topic: str
    origin_partition: int
    origin_offset: int
    append_us: int
    code: str
    pointer: str
    detail: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    size_bytes: int
    sha256: str | None
    resubmitted_us: int | None

    @property
    def name(self) -> str:
        """What people call it by: ``partition:offset``."""
        return f"{self.partition}:{self.offset}"


def dead_letter(
    record: Record, reject: Reject, bytes_max: int = record_bytes_max(DEAD_LETTERS)
) -> NewRecord:
    """Make the dead letter of a refused record.

    Parameters
    ----------
    record
        The refused record.
    reject
        Why it is refused.
    bytes_max
        What the topic takes, ``EventLog.record_bytes_max``; a larger record is cut.
    """
    ours = (
        (_TOPIC, record.topic.encode()),
        (_PARTITION, b"%d" % record.partition),
        (_OFFSET, b"%d" % record.offset),
        (_MESSAGE, reject.detail[:MESSAGE_CHARACTERS_MAX].encode(errors="replace")),
        (_CODE, reject.code.encode()),
        (_POINTER, reject.pointer[:MESSAGE_CHARACTERS_MAX].encode(errors="replace")),
        (_APPEND_US, b"%d" % record.append_us),
    )
    whole = NewRecord(
        topic=DEAD_LETTERS,
        key=record.key,
        value=record.value,
        headers=(*without_ours(record.headers), *ours),
    )
    return whole if record_bytes(whole) <= bytes_max else _cut(record, ours, bytes_max)


def list_dead_letters(
    log: EventLog, codes: Collection[str] = (), *, resubmitted: bool = True
) -> Iterator[DeadLetter]:
    """Yield dead letters, newest first, reading only as far as the caller goes.

    Parameters
    ----------
    log
        The open log.
    codes
        Only letters refused with one of these; all when empty.
    resubmitted
        Whether to yield those that were sent again.
    """
    partitions = log.partitions([DEAD_LETTERS])
    begins, ends = log.begin_offsets(partitions), log.end_offsets(partitions)
    newest_first = heapq.merge(
        *(
            _backwards(log, partition, begins[partition], ends[partition])
            for partition in partitions
        ),
        key=lambda record: -record.append_us,
    )
    # A letter's mark is younger than the letter, so going back it is met first.
    marks: dict[str, int] = {}
    for record in newest_first:
        headers = dict(record.headers)
        if _RESUBMITTED in headers:
            marks.setdefault(headers[_RESUBMITTED].decode(), record.append_us)
            continue
        letter = _read(record, marks.get(f"{record.partition}:{record.offset}"))
        if (not codes or letter.code in codes) and (resubmitted or letter.resubmitted_us is None):
            yield letter


def find_dead_letter(log: EventLog, name: str) -> DeadLetter:
    """Return the dead letter called ``partition:offset``, or ``offset`` in partition 0.

    Raises
    ------
    InvalidInput
        There is none of that name.
    """
    partition, offset = _parse_name(name)
    for letter in list_dead_letters(log):
        if (letter.partition, letter.offset) == (partition, offset):
            return letter
    raise _no_letter(name)


def resubmit(log: EventLog, letter: DeadLetter, force: Collection[str] = ()) -> Position:
    """Append the refused record to its topic again, as it was; return where it is now.

    Parameters
    ----------
    log
        The open log.
    letter
        What to send again. Sending one twice is harmless: an event counts once.
    force
        Codes of the rules to lift for it, of :data:`onhand.model.codes.FORCIBLE`.

    Raises
    ------
    InvalidInput
        The letter holds only the beginning of its record, or a rule cannot be lifted.
    """
    if letter.sha256 is not None:
        raise InvalidInput(
            f"Dead letter {letter.name} holds the first {len(letter.value):,} of "
            f"{letter.size_bytes:,} bytes and cannot be sent again",
            advice="Publish it anew from its source, in smaller events; its SHA-256 is "
            f"{letter.sha256}",
        )
    unforcible = sorted(set(force) - FORCIBLE)
    if unforcible:
        raise InvalidInput(
            f"{', '.join(unforcible)} cannot be forced",
            (FieldError("/force", f"must be of {', '.join(sorted(FORCIBLE))}"),),
        )
    headers = tuple(pair for pair in letter.headers if pair[0] != FORCE_HEADER)
    if force:
        headers += ((FORCE_HEADER, ",".join(sorted(force)).encode()),)
    again = NewRecord(topic=letter.topic, key=letter.key, value=letter.value, headers=headers)
    position = log.append([again])[0]
    # Marked only once it is durable: a crash between leaves a letter that can be sent again.
    mark = ((_RESUBMITTED, letter.name.encode()),)
    log.append([NewRecord(topic=DEAD_LETTERS, key=letter.key, value=b"", headers=mark)])
    return position


def without_ours(headers: Headers) -> Headers:
    """Leave out what an earlier refusal of the same record added."""
    return tuple(pair for pair in headers if pair[0] not in _OURS)


def _cut(record: Record, ours: Headers, bytes_max: int) -> NewRecord:
    ours = (
        *ours,
        (_SIZE, b"%d" % len(record.value)),
        (_SHA256, hashlib.sha256(record.value).hexdigest().encode()),
    )
    value = record.value[:KEPT_BYTES]
    cut = NewRecord(
        topic=DEAD_LETTERS,
        key=record.key,
        value=value,
        headers=(*without_ours(record.headers), *ours),
    )
    if record_bytes(cut) > bytes_max:
        # Key and headers alone are too large; what was refused still has to be told.
        key = record.key and record.key[:KEPT_BYTES]
        cut = NewRecord(topic=DEAD_LETTERS, key=key, value=value, headers=ours)
    return cut


def _backwards(log: EventLog, partition: TopicPartition, begin: int, end: int) -> Iterator[Record]:
    while end > begin:
        start = max(begin, end - PAGE_RECORD_COUNT)
        page = log.read(partition, start, end - start)
        yield from reversed([record for record in page if record.offset < end])
        end = start


def _read(record: Record, resubmitted_us: int | None) -> DeadLetter:
    ours = {name: value.decode(errors="replace") for name, value in record.headers if name in _OURS}
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        dead_us=record.append_us,
        topic=ours.get(_TOPIC, ""),
        origin_partition=_number(ours, _PARTITION, -1),
        origin_offset=_number(ours, _OFFSET, -1),
        append_us=_number(ours, _APPEND_US, 0),
        code=ours.get(_CODE, "unknown"),
        pointer=ours.get(_POINTER, ""),
        detail=ours.get(_MESSAGE, ""),
        key=record.key,
        value=record.value,
        headers=without_ours(record.headers),
        size_bytes=_number(ours, _SIZE, len(record.value)),
        sha256=ours.get(_SHA256),
        resubmitted_us=resubmitted_us,
    )


def _number(headers: dict[str, str], name: str, default: int) -> int:
    """Read a header that others may write too, and write otherwise."""
    text = headers.get(name, "")
    return int(text) if text.isdecimal() else default


def _parse_name(name: str) -> tuple[int, int]:
    partition, _, offset = name.rpartition(":")
    try:
        return int(partition or 0), int(offset)
    except ValueError:
        raise _no_letter(name) from None


def _no_letter(name: str) -> InvalidInput:
    return InvalidInput(
        f"There is no dead letter {name!r}",
        advice="Take a name from `onhand dead-letters list`, such as 0:17",
    )
