"""The data directory's own identity, and the log that it belongs to.

``DATA/cluster.json`` is made at the first start. Tables, checkpoints and ledger are named by its
id, and offsets mean something only in the log they were counted in: a directory used with another
log would give wrong numbers, so it is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.errors import WrongDataDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT: Final = 1
FILE_NAME: Final = "cluster.json"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What ``cluster.json`` holds.

    ``id`` is 32 hex digits; ``log`` is :meth:`EventLog.identity`, None until the first log.
    """

    id: str
    format: int = FORMAT
    log: str | None = None


def read_identity(data: Path) -> Identity | None:
    """Read who the data directory is; None when nothing was ever started on it.

    Raises
    ------
    WrongDataDirectory
        When the file is damaged or of another format.
    """
    path = data / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        what = f"cannot read {path}: {error.strerror}"
        raise WrongDataDirectory(what, "Correct --data or the rights on the directory") from error
    try:
        identity = msgspec.json.decode(content, type=Identity)
    except msgspec.DecodeError as error:
        what = f"{path} is damaged: {error}"
        raise WrongDataDirectory(what, "Restore it from a backup, or use a new --data") from error
    if identity.format != FORMAT:
        what = f"{path} has format {identity.format}, this onhand knows format {FORMAT}"
        raise WrongDataDirectory(what, "Run the onhand that made it, or use a new --data")
    return identity


def open_identity(data: Path, *, log: str | None = None) -> Identity:
    """Read who the data directory is, making it somebody at the first start.

    Parameters
    ----------
    log
        Identity of the event log in use. The first one given is written down; from then on no
        other is accepted. None checks nothing.

    Raises
    ------
    WrongDataDirectory
        When the directory cannot be used, or belongs to another log.
    """
    with _lock(data):
        identity = read_identity(data)
        if identity is None:
            identity = Identity(id=uuid.uuid4().hex, log=log)
            _write(data, identity)
        elif identity.log is None and log is not None:
            identity = msgspec.structs.replace(identity, log=log)
            _write(data, identity)
    if log is not None and identity.log != log:
        what = f"the data directory {data} belongs to the log {identity.log}, not to {log}"
        advice = "Use the log it was made with, or another --data for this log"
        raise WrongDataDirectory(what, advice)
    return identity


@contextlib.contextmanager
def _lock(data: Path) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "cluster.lock").open("a")
    except OSError as error:
        what = f"cannot use the data directory {data}: {error.strerror}"
        raise WrongDataDirectory(what, "Correct --data or the rights on the directory") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(data: Path, identity: Identity) -> None:
    # Renamed into place when it is on disk: losing it would orphan everything named by its id.
    path = data / FILE_NAME
    draft = data / f"{FILE_NAME}.new"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(identity)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(data, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        what = f"cannot write {path}: {error.strerror}"
        raise WrongDataDirectory(what, "Free space on the disk, or correct --data") from error
