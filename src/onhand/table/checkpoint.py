"""The checkpoints of a shard: kept, archived, and found again at the start.

A file is written under another name, synced, renamed, and its directory synced: a name that ends in
``.ohck`` is whole, unless the disk itself has failed. Two are kept; one a day is linked into
``archive/`` and kept longer.
"""

from __future__ import annotations

import contextlib
import errno
import re
import time
from typing import TYPE_CHECKING, Final

from onhand.errors import CheckpointInvalid, TableUnavailable
from onhand.logging import get_logger
from onhand.table.checkpoint_file import (
    FORMAT,
    Checkpoint,
    CheckpointMeta,
    CheckpointTorn,
    write_file,
)
from onhand.table.disk import DISK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from onhand.table.disk import Disk
    from onhand.table.supply import Image

__all__ = ["Checkpoint", "CheckpointMeta", "Checkpoints"]

log = get_logger(__name__)

KEPT: Final = 2
DAY_US: Final = 86_400_000_000

_NAME = re.compile(r"checkpoint-(\d{12})\.ohck")
_ARCHIVED = re.compile(r"checkpoint-(\d{12})-(\d{8})\.ohck")


class Checkpoints:
    """The checkpoints of one shard.

    Parameters
    ----------
    directory
        Where they are; made at the first write.
    cluster_id, log_identity, shard, shard_count
        What a checkpoint must be of to be loaded.
    archive_days
        How long one checkpoint a day is kept; 0 keeps none.
    disk
        Where they are kept.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cluster_id: str,
        log_identity: str,
        shard: int,
        shard_count: int,
        archive_days: int = 0,
        disk: Disk = DISK,
    ) -> None:
        self._disk = disk
        self.directory = directory
        self.archive = directory / "archive"
        self._identity = {
            "cluster_id": cluster_id,
            "log_identity": log_identity,
            "shard": shard,
            "shard_count": shard_count,
        }
        self._archive_days = archive_days

    def latest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, None when there are none at all.

        A torn one is passed over with a warning, for the one before it is whole.

        Raises
        ------
        CheckpointInvalid
            A checkpoint belongs to another deployment, or none of them is whole.
        """
        torn: CheckpointTorn | None = None
        for path in reversed(self._paths()):
            try:
                checkpoint = Checkpoint(path)
                checkpoint.verify()
            except CheckpointTorn as error:
                log.warning("checkpoint_torn", path=str(path), error=str(error))
                torn = torn or error
                continue
            self._compare(checkpoint)
            return checkpoint
        if torn is not None:
            raise CheckpointInvalid(
                f"No checkpoint in {self.directory} can be used: {torn.what}",
                "Copy one from its archive directory beside them, or remove them all: the table is "
                "then rebuilt from the log's beginning",
            )
        return None

    def oldest(self) -> Checkpoint | None:
        """Return the oldest whole checkpoint, archived ones included."""
        for path in [*sorted(self.archive.glob("*.ohck")), *self._paths()]:
            with contextlib.suppress(CheckpointTorn):
                checkpoint = Checkpoint(path)
                checkpoint.verify()
                self._compare(checkpoint)
                return checkpoint
        return None

    def write(
        self,
        image: Image,
        *,
        partitions: Sequence[tuple[str, int]],
        created_us: int,
        changes_since: int = 0,
    ) -> Checkpoint:
        """Put an image on disk and return once it is durable; the image is released in any case.

        Parameters
        ----------
        partitions
            The flow's list of (topic, partition), in the order of the image's offsets.
        created_us
            Now; names the day that is archived.
        changes_since
            The sequence up to which changes had been published when the image was taken.

        Raises
        ------
        TableUnavailable
            The disk is full or fails. The checkpoints before are untouched.
        """
        try:
            meta = self._meta(image, partitions, created_us, changes_since)
            number = self._number_after_all()
            path = self.directory / f"checkpoint-{number:012}.ohck"
            self._write_durably(path, meta, image.sections)
            self._archive_one(path, number, created_us)
            for old in self._paths()[:-KEPT]:
                self._disk.remove(old)
        except OSError as error:
            raise _unwritten(self.directory, error) from error
        finally:
            image.release()
        return Checkpoint(path)

    def _meta(
        self,
        image: Image,
        partitions: Sequence[tuple[str, int]],
        created_us: int,
        changes_since: int,
    ) -> CheckpointMeta:
        if len(partitions) < len(image.offsets):
            msg = "Condition failed: every partition with an offset is in the list of partitions"
            raise ValueError(msg)
        missing = (0,) * (len(partitions) - len(image.offsets))
        return CheckpointMeta(
            format=FORMAT,
            partitions=tuple((topic, number) for topic, number in partitions),
            offsets=image.offsets + missing,
            ledger_sequence=image.ledger_sequence,
            ids_since_us=image.ids_since_us,
            counts_since_us=image.counts_since_us,
            created_us=created_us,
            changes_since=changes_since,
            **self._identity,  # type: ignore[arg-type]
        )

    def _write_durably(
        self, path: Path, meta: CheckpointMeta, sections: Mapping[str, Iterable[memoryview]]
    ) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        try:
            with self._disk.create(draft) as file:
                write_file(file, meta, sections, self._disk)
                self._disk.sync(file)
            self._disk.rename(draft, path)
        except BaseException:
            self._disk.remove(draft)
            raise
        self._disk.sync_directory(self.directory)

    def _archive_one(self, path: Path, number: int, created_us: int) -> None:
        if self._archive_days == 0:
            return
        self.archive.mkdir(exist_ok=True)
        day, oldest = _day(created_us), _day(created_us - self._archive_days * DAY_US)
        days = {}
        for archived in self.archive.iterdir():
            match = _ARCHIVED.fullmatch(archived.name)
            if match and match[2] < oldest:
                self._disk.remove(archived)
            elif match:
                days[match[2]] = archived
        if day not in days:
            self._disk.link(path, self.archive / f"checkpoint-{number:012}-{day}.ohck")
            self._disk.sync_directory(self.archive)

    def _paths(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))

    def _number_after_all(self) -> int:
        # The archive counts as well: a directory may have been emptied to rebuild a table.
        files = [*self._paths(), *self.archive.glob("*.ohck")]
        return max((int(path.name.split("-")[1][:12]) for path in files), default=0) + 1

    def _compare(self, checkpoint: Checkpoint) -> None:
        for field, wanted in self._identity.items():
            found = getattr(checkpoint.meta, field)
            if found != wanted:
                raise CheckpointInvalid(
                    f"{checkpoint.path} is of {field} {found!r}, and this is {wanted!r}",
                    _ADVICE_BY_FIELD[field],
                )


_ADVICE_BY_FIELD: Final = {
    "cluster_id": "Give this deployment a --data directory of its own, or move the file away",
    "log_identity": "Point --kafka or --data at the log it was taken from, or move the file away "
    "to rebuild the table from this log",
    "shard": "Put it back into the directory of its own shard",
    "shard_count": "Run with the shard_count it was taken with, or move the checkpoints away to "
    "rebuild the tables from the log",
}


def _day(at_us: int) -> str:
    return time.strftime("%Y%m%d", time.gmtime(at_us / 1e6))


def _unwritten(directory: Path, error: OSError) -> TableUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return TableUnavailable(
            f"There is no room for a checkpoint in {directory}",
            "Make room there; the checkpoints before it are kept, and the next one is tried soon",
        )
    return TableUnavailable(
        f"A checkpoint cannot be written in {directory}: {error.strerror}",
        "See to the disk; the checkpoints before it are kept",
    )
