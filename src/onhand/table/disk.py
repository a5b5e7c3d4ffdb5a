"""What checkpoints ask of a disk, in one place: what is not synced may be lost with the power.

A file's content is kept once it is synced, its name once its directory is. Between the two a power
failure may leave any part of it. The simulation puts a disk of its own here, which does just that.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path


class Disk:
    """The file system of the operating system."""

    def create(self, path: Path) -> FileIO:
        """Open an empty file for writing, without a buffer of our own."""
        return path.open("wb", buffering=0)

    def sync_data(self, file: FileIO) -> None:
        """Return once what was written to a file is on the disk."""
        os.fdatasync(file.fileno())

    def sync(self, file: FileIO) -> None:
        """Return once a file's content and length are on the disk."""
        os.fsync(file.fileno())

    def rename(self, path: Path, name: Path) -> None:
        """Give a file another name at once; whatever had that name is gone."""
        path.replace(name)

    def link(self, path: Path, name: Path) -> None:
        """Give a file one more name."""
        os.link(path, name)

    def remove(self, path: Path) -> None:
        """Take a name away, if it is there."""
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        """Return once the names in a directory are on the disk."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


DISK = Disk()
