"""Where the shared tables are, which of them readers should open, and what may go.

::

    TABLE_DIR/onhand-<cluster id>/
        shard-000.<generation>.table   a store file; written by one process
        shard-000.json                 which generation readers open, replaced atomically
        demand.<generation>.table      what is promised, of all SKUs; written by the order writer
        demand.json                    the same for it; missing: nothing is promised
        shards.last, demand.last       the highest generation that a clean end has removed

A generation is published once it has applied all that its predecessor had; the older files are
unlinked then. Readers that still map them keep them until they look again.
"""

from __future__ import annotations

import errno
import re
import shutil
from typing import TYPE_CHECKING, TypeVar

import msgspec

from onhand.errors import TableUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Document = TypeVar("Document", bound=msgspec.Struct)

CHANGES_NAME = "changes.json"
"""The file that says how far changes of the tables have been told."""

_TABLE_NAME = re.compile(r"shard-(\d{3})\.(\d+)\.table")
_REMOVE_TRIES = 20
_SHARDS_LAST, _DEMAND_LAST = "shards.last", "demand.last"
_DEMAND_NAME = re.compile(r"demand\.(\d+)\.table")


class Published(msgspec.Struct, frozen=True):
    """The generation of one shard that readers open.

    ``partitions`` is the writer's list of (topic, partition): offsets in the table's header are in
    its order. ``changes_since`` is the change sequence up to which the table it was loaded from
    had been told of on ``stock.availability``. ``windows_us`` is how old an event and a count may
    be there, in microseconds, below 0 for any age; None of a writer that does not say.
    """

    generation: int
    file: str
    shard_count: int
    partitions: tuple[tuple[str, int], ...]
    changes_since: int = 0
    windows_us: tuple[int, int] | None = None


class DemandPublished(msgspec.Struct, frozen=True):
    """The generation of the demand table that readers open."""

    generation: int
    file: str


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
        """Give a new generation its number: above all that were there, removed ones too.

        Readers keep a generation that was removed, and know a new one by its number.
        """
        published = self.published(shard)
        seen = [generation for generation, _ in self._tables(shard)]
        seen.append(published.generation if published else 0)
        return max(self._last(_SHARDS_LAST), *seen) + 1

    def published(self, shard: int) -> Published | None:
        """Read which generation of a shard is published, None before the first is.

        Raises
        ------
        TableUnavailable
            The file is no longer what we wrote.
        """
        return _read(self.published_path(shard), Published)

    def publish(
        self,
        shard: int,
        generation: int,
        *,
        shard_count: int,
        partitions: Sequence[tuple[str, int]],
        changes_since: int = 0,
        windows_us: tuple[int, int] | None = None,
    ) -> None:
        """Make a generation the one that readers open, and drop those before it.

        Whoever calls this has applied everything that the generation before had.
        """
        file = self.table_path(shard, generation)
        document = Published(
            generation, file.name, shard_count, tuple(partitions), changes_since, windows_us
        )
        _write(self.published_path(shard), document)
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
        files = list(self._files())
        generations = [
            int(match[2]) for path in files if (match := _TABLE_NAME.fullmatch(path.name))
        ]
        self._remember(_SHARDS_LAST, generations)
        for path in [*files, self.path / CHANGES_NAME]:
            path.unlink(missing_ok=True)

    # ---- demand ----

    def demand_path(self, generation: int) -> Path:
        """Name the file of one generation of the demand table."""
        return self.path / f"demand.{generation}.table"

    def demand_published_path(self) -> Path:
        """Name the file that says which generation of the demand table readers open."""
        return self.path / "demand.json"

    def next_demand_generation(self) -> int:
        """Give a new demand table its number, as :meth:`next_generation` does."""
        published = self.published_demand()
        seen = [generation for generation, _ in self._demand_tables()]
        seen.append(published.generation if published else 0)
        return max(self._last(_DEMAND_LAST), *seen) + 1

    def published_demand(self) -> DemandPublished | None:
        """Read which demand table is published, None while there is none.

        Raises
        ------
        TableUnavailable
            The file is no longer what we wrote.
        """
        return _read(self.demand_published_path(), DemandPublished)

    def publish_demand(self, generation: int) -> None:
        """Make a demand table the one that readers open, and drop those before it.

        Whoever calls this is the one order writer, and has filled it from the ledger.
        """
        file = self.demand_path(generation)
        _write(self.demand_published_path(), DemandPublished(generation, file.name))
        self.clean_demand()

    def clean_demand(self) -> list[Path]:
        """Drop every demand table that is not published; call it as the one order writer.

        Returns
        -------
        list
            The files dropped: what an order writer that was killed has left behind.
        """
        published = self.published_demand()
        stale = [
            path
            for _, path in self._demand_tables()
            if not published or path.name != published.file
        ]
        for path in stale:
            path.unlink(missing_ok=True)
        return stale

    def remove_demand(self) -> None:
        """Free the demand table; readers that map it keep it until there is another."""
        tables = self._demand_tables()
        self._remember(_DEMAND_LAST, [generation for generation, _ in tables])
        self.demand_published_path().unlink(missing_ok=True)
        for _, path in tables:
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Free everything: the tables are rebuilt from checkpoint and log when needed again.

        Processes that are ending, after whoever ran them was killed, may still come and go with
        files of theirs.
        """
        for tries_left in reversed(range(_REMOVE_TRIES)):
            if not self.path.exists():
                return
            try:
                shutil.rmtree(self.path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or not tries_left:
                    raise

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

    def _last(self, name: str) -> int:
        try:
            return int((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _remember(self, name: str, generations: list[int]) -> None:
        if generations:
            draft = self.path / f"{name}.new"
            draft.write_text(str(max(self._last(name), *generations)))
            draft.replace(self.path / name)

    def _demand_tables(self) -> list[tuple[int, Path]]:
        files = self.path.glob("demand.*.table") if self.path.is_dir() else ()
        matches = [(_DEMAND_NAME.fullmatch(path.name), path) for path in files]
        return [(int(match[1]), path) for match, path in matches if match]


def _read(path: Path, kind: type[Document]) -> Document | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise TableUnavailable(
            f"{path} is not a published generation: {error}",
            "Stop onhand, remove the file and start again; the table is rebuilt",
        ) from error


def _write(path: Path, document: msgspec.Struct) -> None:
    """Replace a document, so that whoever reads it finds the old one or the new one whole."""
    draft = path.with_suffix(".json.new")
    draft.write_bytes(msgspec.json.encode(document))
    draft.replace(path)
