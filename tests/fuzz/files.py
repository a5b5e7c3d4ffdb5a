"""Files that a process finds when it starts: changed ones are refused, or hold what was written.

An input is a byte of modes and a list of edits to a whole file, four bytes each: three of the place
and one to xor there. A mode makes the sum of the file's head right again after the edits, so that a
fuzzer need not guess 32 bits to get to what lies behind them.
"""

import atexit
import shutil
import tempfile
import zlib
from functools import cache
from pathlib import Path

from onhand.errors import CheckpointInvalid
from onhand.recommendations.checkpoint import load_checkpoint, new_learnt, write_checkpoint
from onhand.recommendations.snapshot import SnapshotFollower
from onhand.table.checkpoint_file import PREAMBLE_BYTES, Checkpoint, CheckpointMeta, write_file
from onhand.table.disk import DISK
from tests.baskets import learner, publish, sales_of, settings

REPAIR, CUT = 1, 2
_EDIT_BYTES = 4
_LEARNT_FROM = [["a", "b"], ["b", "c", "größe"]]
_SECTIONS = {"store": bytes(range(256)) * 20, "private": b"p" * 100, "ids": b"", "texts": b"t" * 9}
_META = CheckpointMeta(
    format=1,
    cluster_id="00112233445566778899aabbccddeeff",
    log_identity="log-1",
    shard=0,
    shard_count=1,
    partitions=(("stock.sales", 0), ("stock.ledger", 0)),
    offsets=(7, 1),
    ledger_sequence=1,
    ids_since_us=0,
    counts_since_us=0,
    created_us=1_760_000_000_000_000,
)


def edit(modes, *edits):
    """Write an input: modes, then (place, bits to change)."""
    return bytes([modes]) + b"".join(place.to_bytes(3) + bytes([bits]) for place, bits in edits)


SEEDS = [
    *(edit(modes, (place, 1)) for modes in (0, REPAIR, CUT) for place in (0, 7, 8, 15, 16, 40)),
    *(edit(0, (place, 128)) for place in (4_096, 5_000, 9_216, 12_288)),
    *(edit(REPAIR, (place, 128)) for place in range(20, 400, 20)),
    edit(REPAIR, (250, 1), (251, 255)),
]


def check_checkpoint(data):
    """Refuse a checkpoint of a table in words, or find every byte and offset of what was."""
    written = _checkpoint()
    changed = _edited(data, written, 0, len(written), _repair_checkpoint)
    path = _scratch() / "checkpoint-000000000001.ohck"
    path.write_bytes(changed)
    try:
        checkpoint = Checkpoint(path)
        checkpoint.verify()
        read = {name: bytearray(checkpoint.section_bytes(name)) for name in _SECTIONS}
        present = {name: memoryview(each) for name, each in read.items() if each}
        checkpoint.read_into(present)
    except CheckpointInvalid:
        return
    if not _modes(data) & REPAIR:
        assert checkpoint.meta == _META
        assert read == _SECTIONS


def check_learnt(data):
    """Begin anew with what is bought together, or go on from what was written."""
    written = _learnt()
    path = _scratch() / "learnt"
    path.write_bytes(_edited(data, written, 0, len(written), _repair_arrays))
    found = load_checkpoint(path, settings(), log_identity="log")
    whole, nothing = _learnt_before(), new_learnt(settings())
    if not _modes(data) & REPAIR:
        assert _described(found) in (_described(whole), _described(nothing))


def check_snapshot(data):
    """Pass over a snapshot whose head was changed, or find what was written."""
    written, head_bytes = _snapshot()
    path = _scratch() / "snapshot"
    path.write_bytes(_edited(data, written, 0, head_bytes, _repair_arrays))
    found = SnapshotFollower(path).current()
    if found is not None and not _modes(data) & REPAIR:
        assert found.find(["a", "größe", "never"])[2] == -1
        assert [found.name(number) for number in found.find(["a", "größe"])] == ["a", "größe"]


# -- edits ----------------------------------------------------------------------------------------


def _modes(data):
    return data[0] if data else 0


def _edited(data, written, begin, end, repair):
    changed = bytearray(written)
    places = []
    for at in range(1, len(data) - _EDIT_BYTES + 1, _EDIT_BYTES):
        place = begin + int.from_bytes(data[at : at + 3]) % (end - begin)
        changed[place] ^= data[at + 3]
        places.append(place)
    if _modes(data) & REPAIR:
        repair(changed)
    if _modes(data) & CUT and places:
        del changed[places[0] :]
    return bytes(changed)


def _repair_checkpoint(content):
    length = int.from_bytes(content[8:12], "little")
    header = content[PREAMBLE_BYTES : PREAMBLE_BYTES + length]
    content[12:16] = zlib.crc32(header).to_bytes(4, "little")


def _repair_arrays(content):
    length = int.from_bytes(content[8:12], "little")
    content[12:16] = zlib.crc32(content[16 : 16 + length]).to_bytes(4, "little")


# -- what is edited -------------------------------------------------------------------------------


@cache
def _scratch():
    """Make a directory in memory: files are written thousands of times a second."""
    folder = tempfile.mkdtemp(dir="/dev/shm", prefix="onhand-fuzz-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


@cache
def _checkpoint():
    path = _scratch() / "whole"
    with path.open("wb", buffering=0) as file:
        sections = {name: [memoryview(part)] for name, part in _SECTIONS.items()}
        write_file(file, _META, sections, DISK)
    return path.read_bytes()


@cache
def _learnt_before():
    made = learner(sales_of(_LEARNT_FROM))
    return type(new_learnt(settings()))(made.pairs, made.baskets, {("stock.sales", 0): 17})


@cache
def _learnt():
    path = _scratch() / "learnt-whole"
    write_checkpoint(path, _learnt_before(), _learnt_before().offsets, log_identity="log")
    return path.read_bytes()


@cache
def _snapshot():
    folder = _scratch() / "published"
    folder.mkdir()
    content = publish(folder, _LEARNT_FROM).read_bytes()
    shutil.rmtree(folder)
    return content, 16 + int.from_bytes(content[8:12], "little")


def _described(learnt):
    pairs, count = learnt.pairs, len(learnt.pairs.names)
    return (
        learnt.offsets,
        pairs.names,
        [pairs.newest_us, pairs.landmark_us, pairs.basket_count, pairs.forgotten_count],
        [each[:count].tolist() for each in (pairs.neighbours, pairs.counts, pairs.bought)],
        {name: column.tolist() for name, column in learnt.baskets.columns().items()},
    )
