"""Where the shared tables are, which of them readers should open, and what may go.

::

    TABLE_DIR/onhand-<cluster id>/
        shard-000.<generation>.table   a store file; written by one process
        shard-000.json                 which generation readers open, replaced atomically

A generation is published once it has applied all that its predecessor had; the older files are
unlinked then. Readers that still map them keep them until they look again.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from typing import TYPE_CHECKING

import msgspec

from onhand.errors import TableUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CHANGES_NAME = "changes.json"
"""The file that says how far changes of the tables have been told."""

_TABLE_NAME = re.compile(r"shard-(\d{3})\.(\d+)\.table")


class Published(msgspec.Struct, frozen=True):
    """The generation of one shard that readers open.

    ``partitions`` is the writer's list of (topic, partition): offsets in the table's header are in
    its order. ``changes_since`` is the change sequence up to which the table it was loaded from
    had been told of on ``stock.availability``.
    """

    generation: int
    file: str
    shard_count: int
    partitions: tuple[tuple[str, int], ...]
    changes_since: int = 0


class TableDirectory:
    """The shared tables of one cluster.

    Parameters
    ----------
    root
        The table directory of the settings, ``/dev/shm`` unless told otherwise.
    cluster_id
        The data directory's own id: two deployments may share ``root``.
    """

    def __init__(self, root: Path, cluster_id: str) -> None:
        self.root = root
        self.cluster_id = cluster_id
        self.path = root / f"onhand-{cluster_id}"

    def prepare(self) -> None:
        """Make the directory, readable by its owner alone.

        Raises
        ------
        TableUnavailable
            ``root`` is missing or refuses to be written.
        """
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise TableUnavailable(
                f"The table directory {self.path} cannot be made: {error.strerror}",
                "Name a directory that exists and may be written with --table-dir",
            ) from error

    def table_path(self, shard: int, generation: int) -> Path:
        """Name the file of one generation of a shard."""
        return self.path / f"shard-{shard:03}.{generation}.table"

    def published_path(self, shard: int) -> Path:
        """Name the file that says which generation readers open."""
        return self.path / f"shard-{shard:03}.json"

    def next_generation(self, shard: int) -> int:
        """Give a new generation its number: above every file there and the one published."""
        published = self.published(shard)
        seen = [generation for generation, _ in self._tables(shard)]
        return max([0, *seen, published.generation if published else 0]) + 1

    def published(self, shard: int) -> Published | None:
        """Read which generation of a shard is published, None before the first is.

        Raises
        ------
        TableUnavailable
            The file is no longer what we wrote.
        """
        path = self.published_path(shard)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Published)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise TableUnavailable(
                f"{path} is not a published generation: {error}",
                "Stop ingest, remove the file and start again; the table is rebuilt",
            ) from error

    def publish(
        self,
        shard: int,
        generation: int,
        *,
        shard_count: int,
        partitions: Sequence[tuple[str, int]],
        changes_since: int = 0,
    ) -> None:
        """Make a generation the one that readers open, and drop those before it.

        Whoever calls this has applied everything that the generation before had.
        """
        file = self.table_path(shard, generation)
        document = Published(generation, file.name, shard_count, tuple(partitions), changes_since)
        path = self.published_path(shard)
        draft = path.with_suffix(".json.new")
        draft.write_bytes(msgspec.json.encode(document))
        draft.replace(path)
        self.clean(shard)

    def clean(self, shard: int) -> list[Path]:
        """Drop every generation of a shard that is not published; call it as the one writer.

        Returns
        -------
        list
            The files dropped: what a writer that was killed has left behind.
        """
        published = self.published(shard)
        stale = [
            path for _, path in self._tables(shard) if not published or path.name != published.file
        ]
        for path in stale:
            path.unlink(missing_ok=True)
        return stale

    def clean_all(self, shard_count: int) -> None:
        """Drop stale generations, and all that belongs to shards that no longer exist."""
        shards = {int(path.name[6:9]) for path in self._files() if path.name[6:9].isdigit()}
        for shard in sorted(shards | set(range(shard_count))):
            if shard >= shard_count:
                self.published_path(shard).unlink(missing_ok=True)
            self.clean(shard)

    def remove_tables(self) -> None:
        """Free the tables and what belongs to them; metrics of other processes stay."""
        for path in [*self._files(), self.path / CHANGES_NAME]:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Free everything: the tables are rebuilt from checkpoint and log when needed again."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def bytes_on_disk(self) -> int:
        """Count the bytes that the directory's files occupy."""
        return sum(path.stat().st_blocks * 512 for path in self._files())

    def _files(self) -> Iterator[Path]:
        if self.path.is_dir():
            yield from self.path.glob("shard-*")

    def _tables(self, shard: int) -> list[tuple[int, Path]]:
        found = []
        for path in self._files():
            match = _TABLE_NAME.fullmatch(path.name)
            if match and int(match[1]) == shard:
                found.append((int(match[2]), path))
        return found
