"""One checkpoint file: written whole, read with every checksum compared.

::

    "OHCHECK1" | header bytes : u32 | CRC-32 of the header : u32 | header (MessagePack) | sections

Sections follow the header in its order, each beginning on a multiple of 4,096 bytes, each with a
CRC-32 of its own in the header.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from onhand.errors import CheckpointInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from io import FileIO
    from pathlib import Path

    from onhand.table.disk import Disk

FORMAT: Final = 1
MAGIC: Final = b"OHCHECK1"
PREAMBLE_BYTES: Final = len(MAGIC) + 8
HEADER_BYTES_MAX: Final = 1 << 20
ALIGNMENT: Final = 4096
CHUNK_BYTES: Final = 4 << 20


class CheckpointTorn(CheckpointInvalid):
    """The file is not as it was written; the one before it may be."""


class CheckpointMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Whose checkpoint it is and where it stands; times in microseconds since 1970-01-01 UTC.

    ``offsets[i]`` is the next offset to apply of ``partitions[i]``. ``ids_since_us`` and
    ``counts_since_us`` are the horizons that hold once it is durable. ``changes_since`` is the
    sequence up to which changes of available had been published.
    """

    format: int
    cluster_id: str
    log_identity: str
    shard: int
    shard_count: int
    partitions: tuple[tuple[str, int], ...]
    offsets: tuple[int, ...]
    ledger_sequence: int
    ids_since_us: int
    counts_since_us: int
    created_us: int
    changes_since: int = 0

    def offsets_by_partition(self) -> dict[tuple[str, int], int]:
        """Return the next offset to apply of each (topic, partition)."""
        return dict(zip(self.partitions, self.offsets, strict=True))


class _Section(msgspec.Struct, frozen=True):
    name: str
    length: Annotated[int, msgspec.Meta(ge=0)]
    crc32: int


class _Header(msgspec.Struct, frozen=True):
    meta: CheckpointMeta
    sections: tuple[_Section, ...]


class Checkpoint:
    """A checkpoint file whose header has been read and found whole.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    CheckpointInvalid
        It is torn, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _readable(path) as file:
            header, end = _read_header(file, path)
            size = os.fstat(file.fileno()).st_size
        self.meta = header.meta
        self._places: dict[str, tuple[int, _Section]] = {}
        for section in header.sections:
            start = _aligned(end)
            end = start + section.length
            self._places[section.name] = (start, section)
        if size < end:
            raise _torn(path, f"it ends at byte {size} of {end}")

    @property
    def number(self) -> int:
        """Its place in the sequence of its shard's checkpoints."""
        return int(self.path.name.split("-")[1].removesuffix(".ohck"))

    def section_bytes(self, name: str) -> int:
        """Return the length of a section; 0 for one that the file does not have."""
        place = self._places.get(name)
        return place[1].length if place else 0

    def read_into(self, buffers: Mapping[str, memoryview]) -> None:
        """Read sections into memory of their length, and compare their checksums.

        Raises
        ------
        CheckpointInvalid
            A section is not what was written.
        """
        with _readable(self.path) as file:
            for name, buffer in buffers.items():
                start, section = self._places[name]
                file.seek(start)
                if _read_section(file, buffer) != section.crc32:
                    raise _torn(self.path, f"the checksum of {name} differs")

    def verify(self) -> None:
        """Read the whole file and compare every checksum; about 0.5 s a GB when it is cached.

        Raises
        ------
        CheckpointInvalid
            A section is not what was written.
        """
        scratch = memoryview(bytearray(CHUNK_BYTES))
        with _readable(self.path) as file:
            for start, section in self._places.values():
                file.seek(start)
                if _read_crc(file, section.length, scratch) != section.crc32:
                    raise _torn(self.path, f"the checksum of {section.name} differs")


def write_file(
    file: FileIO,
    meta: CheckpointMeta,
    sections: Mapping[str, Iterable[memoryview]],
    disk: Disk,
) -> None:
    """Write a checkpoint's content; making it durable and naming it is the caller's."""
    described = tuple(_describe(name, pieces) for name, pieces in sections.items())
    header = msgspec.msgpack.encode(_Header(meta, described))
    lead = [MAGIC, len(header).to_bytes(4, "little"), zlib.crc32(header).to_bytes(4, "little")]
    end = _write(disk, file, 0, b"".join([*lead, header]))
    for pieces in sections.values():
        end = _write(disk, file, end, bytes(_aligned(end) - end))
        for piece in pieces:
            end = _write(disk, file, end, piece)


def _describe(name: str, pieces: Iterable[memoryview]) -> _Section:
    length, crc = 0, 0
    for piece in pieces:
        length += piece.nbytes
        crc = zlib.crc32(piece, crc)
    return _Section(name, length, crc)


def _write(disk: Disk, file: FileIO, end: int, content: bytes | memoryview) -> int:
    rest = memoryview(content)
    while rest:
        # Synced piece by piece: one sync of it all would hold up the log's commits, which share
        # the disk, for as long as the whole takes.
        written = file.write(rest[:CHUNK_BYTES])
        if written == CHUNK_BYTES:
            disk.sync_data(file)
        end += written
        rest = rest[written:]
    return end


def _read_header(file: FileIO, path: Path) -> tuple[_Header, int]:
    preamble = file.read(PREAMBLE_BYTES)
    if len(preamble) < PREAMBLE_BYTES or not preamble.startswith(MAGIC[:-1]):
        raise _torn(path, "it does not begin like one")
    if not preamble.startswith(MAGIC):
        raise _other_format(path, preamble[len(MAGIC) - 1 : len(MAGIC)].decode(errors="replace"))
    length = int.from_bytes(preamble[8:12], "little")
    content = file.read(length) if length <= HEADER_BYTES_MAX else b""
    if len(content) < length or zlib.crc32(content) != int.from_bytes(preamble[12:], "little"):
        raise _torn(path, "the checksum of its header differs")
    try:
        header = msgspec.msgpack.decode(content, type=_Header)
    except (msgspec.DecodeError, ValueError) as error:  # Text that is not UTF-8 is a ValueError.
        raise _torn(path, f"its header cannot be read: {error}") from error
    if header.meta.format != FORMAT:
        raise _other_format(path, str(header.meta.format))
    return header, PREAMBLE_BYTES + length


def _read_section(file: FileIO, buffer: memoryview) -> int:
    crc = 0
    for start in range(0, buffer.nbytes, CHUNK_BYTES):
        chunk = buffer[start : start + CHUNK_BYTES]
        _read_chunk(file, chunk)
        crc = zlib.crc32(chunk, crc)
    return crc


def _read_crc(file: FileIO, length: int, scratch: memoryview) -> int:
    crc = 0
    for start in range(0, length, CHUNK_BYTES):
        chunk = scratch[: min(CHUNK_BYTES, length - start)]
        _read_chunk(file, chunk)
        crc = zlib.crc32(chunk, crc)
    return crc


def _read_chunk(file: FileIO, chunk: memoryview) -> None:
    while chunk:
        count = file.readinto(chunk)
        if not count:
            raise CheckpointTorn("The file became shorter while it was read", "Start again")
        chunk = chunk[count:]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[FileIO]:
    try:
        with path.open("rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise CheckpointInvalid(
            f"{path} cannot be read: {error.strerror}",
            "Give it back to the user that onhand runs as, or move it away",
        ) from error


def _aligned(end: int) -> int:
    return -(-end // ALIGNMENT) * ALIGNMENT


def _torn(path: Path, how: str) -> CheckpointTorn:
    return CheckpointTorn(
        f"{path} is no whole checkpoint: {how}",
        "Remove it: the one before it is used then",
    )


def _other_format(path: Path, found: str) -> CheckpointInvalid:
    return CheckpointInvalid(
        f"{path} is of format {found}, and this version of onhand reads {FORMAT}",
        "Start the version that wrote it, or move the checkpoints away to rebuild from the log",
    )
