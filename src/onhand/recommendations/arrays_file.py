"""A file of named arrays behind a document, replaced as a whole.

::

    magic, document's length and CRC-32 | document (JSON) | array | array | ...  each at 64 bytes

Readers map it; a file that is replaced stays as it was for those who have it mapped.
"""

from __future__ import annotations

import mmap
import os
import uuid
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Meta = TypeVar("Meta", bound=msgspec.Struct)

MAGIC: Final = b"OHARRAY2"
_DRAFT_SUFFIX: Final = ".new"
_ALIGNED: Final = 64
_HEAD_BYTES: Final = 16


class ArraysInvalid(Exception):
    """The file is torn, damaged, or none of ours."""


class _Place(msgspec.Struct, frozen=True):
    """Where an array lies, from the end of the document on."""

    name: str
    dtype: Annotated[str, msgspec.Meta(pattern=r"^[<|][a-z]\d$")]
    """One of numpy's plain ones: it would parse any expression."""
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    offset: Annotated[int, msgspec.Meta(ge=0)]
    crc: int | None


class _Document(msgspec.Struct, frozen=True):
    arrays: list[_Place]
    meta: msgspec.Raw
    size_bytes: int


class Arrays(NamedTuple, Generic[Meta]):
    """What a file holds: its document, and its arrays, read-only."""

    meta: Meta
    arrays: dict[str, NDArray[Any]]
    size_bytes: int


def write_arrays(
    path: Path, meta: msgspec.Struct, arrays: Mapping[str, NDArray[Any]], *, durable: bool
) -> int:
    """Write a file beside ``path`` and put it in its place; return its size in bytes.

    Another process may do so at the same time: each has a draft of its own, and the last one stays.

    Parameters
    ----------
    durable
        It is on disk when this returns, with sums to tell whether it still is what was written.

    Raises
    ------
    OSError
        The file cannot be written; what was there before still is.
    """
    places, offset = [], 0
    columns = {name: np.ascontiguousarray(each) for name, each in arrays.items()}
    for name, each in columns.items():
        crc = zlib.crc32(each.data.cast("B") if each.size else b"") if durable else None
        places.append(_Place(name, each.dtype.str, each.shape, offset, crc))
        offset = _aligned(offset + each.nbytes)
    document = msgspec.json.encode(
        _Document(places, msgspec.Raw(msgspec.json.encode(meta)), offset)
    )
    begin = _aligned(_HEAD_BYTES + len(document))
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_DRAFT_SUFFIX}")
    try:
        with draft.open("xb") as file:
            # Space first: a full table directory is an error here and no signal for who maps it.
            os.posix_fallocate(file.fileno(), 0, begin + offset)
            file.write(MAGIC + _word(len(document)) + _word(zlib.crc32(document)) + document)
            for place, each in zip(places, columns.values(), strict=True):
                file.seek(begin + place.offset)
                file.write(each.data.cast("B") if each.size else b"")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)
    return begin + offset


def remove_drafts(path: Path) -> None:
    """Remove what processes that were killed had begun to write for ``path``.

    One that lives and writes this moment loses its draft: an error, as of a full disk.
    """
    for draft in path.parent.glob(f"{path.name}*{_DRAFT_SUFFIX}"):
        draft.unlink(missing_ok=True)


def map_arrays(path: Path, meta: type[Meta], names: Collection[str]) -> Arrays[Meta]:
    """Map a file that :func:`write_arrays` wrote.

    Parameters
    ----------
    meta
        What its document is.
    names
        Arrays that it must have.

    Raises
    ------
    FileNotFoundError
        There is none.
    ArraysInvalid
        It is not whole, or another version's.
    """
    with path.open("rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes < _HEAD_BYTES:
            raise ArraysInvalid(f"{path} is too short")
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    try:
        document, begin = _read_document(mapped, names)
        found = {place.name: _array(mapped, begin, place) for place in document.arrays}
        return Arrays(msgspec.json.decode(document.meta, type=meta), found, size_bytes)
    except (ArraysInvalid, msgspec.DecodeError, ValueError, TypeError) as error:
        # Text that is not UTF-8 is a ValueError, and so is an array that does not fit.
        raise ArraysInvalid(f"{path} cannot be used: {error}") from error


def _read_document(mapped: mmap.mmap, names: Collection[str]) -> tuple[_Document, int]:
    """Return the document, which places these arrays, and where the arrays begin."""
    if mapped[:8] != MAGIC:
        raise ArraysInvalid("it is no file of arrays, or another version's")
    length = int.from_bytes(mapped[8:12], "little")
    content = mapped[_HEAD_BYTES : _HEAD_BYTES + length]
    if len(content) < length or _word(zlib.crc32(content)) != mapped[12:_HEAD_BYTES]:
        raise ArraysInvalid("its document is not what was written")
    document = msgspec.json.decode(content, type=_Document)
    begin = _aligned(_HEAD_BYTES + length)
    if begin + document.size_bytes != len(mapped):
        raise ArraysInvalid(f"it has {len(mapped):,} bytes, and was written with others")
    missing = set(names) - {place.name for place in document.arrays}
    if missing:
        raise ArraysInvalid(f"it has no {min(missing)}")
    return document, begin


def _array(mapped: mmap.mmap, begin: int, place: _Place) -> NDArray[Any]:
    count = int(np.prod(place.shape, dtype=np.int64))
    array: NDArray[Any] = np.frombuffer(mapped, place.dtype, count, begin + place.offset)
    if place.crc is not None and zlib.crc32(array.data.cast("B") if count else b"") != place.crc:
        raise ArraysInvalid(f"{place.name} is not what was written")
    return array.reshape(place.shape)


def _word(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNED) * _ALIGNED


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
