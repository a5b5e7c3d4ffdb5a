"""What native code says, in words a person can act on; one place for every status."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from onhand.errors import (
    CheckpointInvalid,
    LedgerSequenceGap,
    OnhandError,
    TableFull,
    TableUnavailable,
)

if TYPE_CHECKING:
    from pathlib import Path

    from onhand._native.demand import DemandError
    from onhand._native.supply import StatusError

_STATUS_NO_SPACE = -1
_STATUS_TABLE_FULL = -2
_STATUS_NO_MEMORY = -3
_STATUS_CORRUPT = -4
_STATUS_BATCH_INVALID = -16
_STATUS_SEQUENCE_GAP = -17
_STATUS_IDS_FULL = -18
_STATUS_HISTORY_FULL = -19
_STATUS_ORDERS_FULL = -20
_STATUS_BROKEN = -21
_STATUS_FROZEN = -22
_STATUS_FORGOTTEN = -23

_ADVICE: dict[int, tuple[type[OnhandError], str, str]] = {
    _STATUS_NO_SPACE: (
        TableUnavailable,
        "The file system of the shared tables has no room for the table to grow",
        "Enlarge it (mount -o remount,size=... /dev/shm), or choose another with --table-dir",
    ),
    _STATUS_TABLE_FULL: (
        TableFull,
        "The table has reached table_bytes_max, or the limit of locations or SKUs",
        "Raise --table-bytes-max, or divide SKUs over more shards, and start again",
    ),
    _STATUS_NO_MEMORY: (
        TableUnavailable,
        "There is no memory for the table's private part",
        "Give the process more memory, or lower ids_max and table_bytes_max",
    ),
    _STATUS_IDS_FULL: (
        TableFull,
        "The memory of event ids cannot take the next batch",
        "Raise --ids-max and start again",
    ),
    _STATUS_HISTORY_FULL: (
        TableFull,
        "The history of movements cannot take the next batch",
        "Raise --history-max and start again",
    ),
    _STATUS_ORDERS_FULL: (
        TableFull,
        "The memory of purchase orders cannot take the next batch",
        "Raise --purchase-orders-max and start again",
    ),
    _STATUS_BROKEN: (
        TableFull,
        "The table stopped halfway through a batch when it ran out of room, and applies no more",
        "Raise --table-bytes-max or make room in --table-dir, and start again from the checkpoint",
    ),
    _STATUS_FORGOTTEN: (
        TableFull,
        "What an event needs was forgotten between judging and applying it",
        "Start again: it is judged anew; raise --ids-max and --history-max if it happens twice",
    ),
}


def raise_in_words(
    error: StatusError, path: Path | None = None, checkpoint: Path | None = None
) -> NoReturn:
    """Turn a native status into an error that says what to do."""
    if error.status == _STATUS_SEQUENCE_GAP:
        raise LedgerSequenceGap(error.expected, error.found) from None
    if error.status == _STATUS_CORRUPT:
        raise CheckpointInvalid(
            f"The checkpoint {checkpoint} does not hold together",
            "Remove it: the one before it is used then",
        ) from None
    if error.status in _ADVICE:
        kind, what, advice = _ADVICE[error.status]
        raise kind(what, advice) from None
    if error.status == _STATUS_BATCH_INVALID:
        msg = f"Condition failed: event {error.event} of the batch is one that decoding can make"
        raise ValueError(msg) from None
    if error.status == _STATUS_FROZEN:
        msg = "Condition failed: the image before was released"
        raise ValueError(msg) from None
    raise TableUnavailable(
        f"The table file {path} cannot be made: {os.strerror(error.errno)}",
        "Name a directory that exists and may be written with --table-dir",
    ) from None


def raise_demand_in_words(error: DemandError, path: Path | None = None) -> NoReturn:
    """Turn a status of the demand table into an error that says what to do."""
    if error.status == _STATUS_TABLE_FULL:
        raise TableFull(
            "The demand table has reached its capacity, or the limit of locations or SKUs",
            "Raise --table-bytes-max and start again: it is filled anew from the ledger",
        ) from None
    if error.status in (_STATUS_NO_SPACE, _STATUS_NO_MEMORY):
        kind, what, advice = _ADVICE[error.status]
        raise kind(what, advice) from None
    raise TableUnavailable(
        f"The table file {path} cannot be made: {os.strerror(error.errno)}",
        "Name a directory that exists and may be written with --table-dir",
    ) from None
