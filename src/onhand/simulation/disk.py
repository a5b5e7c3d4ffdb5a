"""A disk that keeps what was synced, and of the rest whatever a power failure happens to leave.

Files are real, in a directory in memory, so that the code that reads and writes them is. Beside
them this remembers what of each file and of each directory is on the disk for good.

::

    content       create ─ write ─ write ─ sync        from here on kept; before, a part of it
    names         rename, link, remove ─ sync_directory    before, the first so many happened
"""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, Self

from onhand.simulation.faults import Killed
from onhand.table.disk import Disk

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random


class _Content:
    """What is written in a file, and what of it is kept for good."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.synced = b""


class _File:
    """A file open for writing; only what checkpoints use of one."""

    def __init__(self, disk: SimulatedDisk, real: io.FileIO, content: _Content) -> None:
        self._disk = disk
        self._real = real
        self.content = content

    def write(self, piece: Any) -> int:
        """Write a piece, or a part of it, as a full disk does."""
        room = self._disk.room_for(memoryview(piece).nbytes)
        written = self._real.write(memoryview(piece)[:room])
        self.content.written += memoryview(piece)[:written]
        return written

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()


class SimulatedDisk(Disk):
    """The disk of one host.

    ``kill_after`` lets the process die after so many operations; ``full_after`` lets the disk be
    full after so many bytes. None for never.
    """

    def __init__(self) -> None:
        self.kill_after: int | None = None
        self.full_after: int | None = None
        self._is_dead = False
        self._contents: dict[Path, _Content] = {}
        self._kept: dict[Path, _Content] = {}
        self._unsynced: list[tuple[Path, _Content | None]] = []

    def calm(self) -> None:
        """Let nothing go wrong from now on; the next process may use the disk."""
        self.kill_after = self.full_after = None
        self._is_dead = False

    def create(self, path: Path) -> Any:
        """Open an empty file for writing."""
        self._point()
        content = self._contents[path] = _Content()
        self._unsynced.append((path, content))
        return _File(self, path.open("wb", buffering=0), content)

    def sync_data(self, file: Any) -> None:
        """Keep a file's content."""
        self.sync(file)

    def sync(self, file: Any) -> None:
        """Keep a file's content."""
        self._point()
        file.content.synced = bytes(file.content.written)

    def rename(self, path: Path, name: Path) -> None:
        """Give a file another name."""
        self._point()
        super().rename(path, name)
        content = self._contents[name] = self._contents.pop(path)
        # In this order: after a power failure it has one of the names, or both, never none.
        self._unsynced.append((name, content))
        self._unsynced.append((path, None))

    def link(self, path: Path, name: Path) -> None:
        """Give a file one more name."""
        self._point()
        super().link(path, name)
        content = self._contents[name] = self._contents[path]
        self._unsynced.append((name, content))

    def remove(self, path: Path) -> None:
        """Take a name away."""
        self._point()
        super().remove(path)
        self._contents.pop(path, None)
        self._unsynced.append((path, None))

    def sync_directory(self, directory: Path) -> None:
        """Keep the names in a directory."""
        self._point()
        for path, content in self._unsynced:
            if path.parent == directory:
                self._keep(path, content)
        self._unsynced = [each for each in self._unsynced if each[0].parent != directory]

    def room_for(self, length: int) -> int:
        """Say how much of a piece is taken; raise when none is."""
        self._point()
        if self.full_after is None:
            return length
        if self.full_after <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(length, self.full_after)
        self.full_after -= taken
        return taken

    def lose_power(self, random: Random) -> None:
        """Forget what was not synced, or a part of it, and put the files as they then are."""
        for path, content in self._unsynced[: random.randint(0, len(self._unsynced))]:
            self._keep(path, content)
        self._unsynced = []
        for path in list(self._contents):
            path.unlink(missing_ok=True)
        self._contents = dict(self._kept)
        for path, content in self._kept.items():
            _tear(content, random)
            path.write_bytes(content.synced)

    def _keep(self, path: Path, content: _Content | None) -> None:
        if content is None:
            self._kept.pop(path, None)
        else:
            self._kept[path] = content

    def _point(self) -> None:
        """Pass one instruction at which the process may die; what is dead does nothing more."""
        if self.kill_after is not None:
            self.kill_after -= 1
            self._is_dead = self._is_dead or self.kill_after < 0
        if self._is_dead:
            raise Killed


def _tear(content: _Content, random: Random) -> None:
    """Let a file have what was synced and some of what was not, with holes of zeros."""
    written = bytes(content.written)
    if content.synced != written:
        end = random.randint(len(content.synced), len(written))
        hole = random.randint(len(content.synced), end)
        torn = written[:hole] + bytes(end - hole)
        content.synced = torn
        content.written = bytearray(torn)
