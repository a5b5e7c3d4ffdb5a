"""Checkpoints: written whole, found again, refused when they are not ours."""

import resource

import pytest
import structlog

from onhand.errors import CheckpointInvalid, TableFull, TableUnavailable
from onhand.table.checkpoint import DAY_US, Checkpoint, Checkpoints
from onhand.table.checkpoint_file import PREAMBLE_BYTES
from onhand.table.supply import Supply
from tests.supplies import (
    CLUSTER_ID,
    LEDGER,
    OPTIONS,
    PARTITIONS,
    START_US,
    MemoryLog,
    Shards,
    time_at,
)

IDENTITY = {"cluster_id": CLUSTER_ID, "log_identity": "log-1", "shard": 0, "shard_count": 1}


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def shards(tmp_path):
    made = Shards(tmp_path)
    yield made
    made.close()


@pytest.fixture
def checkpoints(shards):
    return shards.checkpoints[0]


def event(number, kind="sale", **fields):
    made = {
        "type": kind,
        "source": "till",
        "id": f"e{number}",
        "occurred_at": time_at(0),
        "location": "store",
        "sku": "a",
        "quantity": 1,
    }
    return made | fields


def feed(shards, log, *events):
    return shards.apply(log.batch([log.append(each) for each in events]))


def write(shards, checkpoints, **options):
    options = {"partitions": PARTITIONS, "created_us": START_US} | options
    return checkpoints.write(shards.supply.freeze(), **options)


def files(checkpoints):
    return sorted(path.name for path in checkpoints.directory.glob("*.ohck"))


def test_there_is_none_before_the_first(checkpoints):
    """A new deployment starts from its log."""
    assert checkpoints.latest() is None
    assert checkpoints.oldest() is None


def test_a_checkpoint_says_where_it_stands(shards, checkpoints, log):
    """Its meta names every partition with its offset, the sequence and the horizons."""
    feed(shards, log, event(1), event(2))
    shards.apply(log.batch([log.append(event(3, sequence=1), LEDGER)]))
    write(shards, checkpoints)
    meta = checkpoints.latest().meta
    assert meta.offsets_by_partition() == dict(zip(PARTITIONS, (2, 0, 1), strict=True))
    assert (meta.ledger_sequence, meta.created_us) == (1, START_US)
    assert (meta.cluster_id, meta.log_identity) == (CLUSTER_ID, "log-1")


def test_partitions_that_came_later_start_at_their_beginning(shards, checkpoints, log):
    """A partition that no event came from yet has the offset 0."""
    feed(shards, log, event(1))
    write(shards, checkpoints, partitions=[*PARTITIONS, ("stock.counts", 7)])
    assert checkpoints.latest().meta.offsets == (1, 0, 0, 0)


def test_an_image_is_what_stood_when_it_was_frozen(shards, checkpoints, log):
    """Events applied while it is being written are not in it, and are applied anew after it."""
    feed(shards, log, event(1), event(2, "expected", purchase_order="p", expected_on="2026-01-01"))
    image = shards.supply.freeze()
    feed(shards, log, event(3), event(4, "count", quantity=9), event(5, location="other"))
    feed(shards, log, event(6, "receipt", purchase_order="p"))
    checkpoints.write(image, partitions=PARTITIONS, created_us=START_US)
    now = shards.cells(), shards.incoming()
    shards.restart()
    assert shards.cells() == {("a", "store"): (-1, 0, 0, 0)}
    shards.apply(log.tail(shards.starts()))
    assert (shards.cells(), shards.incoming()) == now


def test_what_was_applied_before_a_restart_is_known_after_it(shards, log):
    """Ids, counts, purchase orders and the history survive."""
    told = [
        event(1, "receipt", quantity=50),
        event(2, "count", quantity=40, occurred_at=time_at(-10)),
        event(3, "expected", quantity=5, purchase_order="p", expected_on="2026-01-01"),
        event(4, "receipt", quantity=2, purchase_order="p"),
    ]
    feed(shards, log, *told)
    before = shards.cells(), shards.incoming(), shards.history("a", "store")
    shards.write_checkpoints()
    shards.restart()
    (applied,) = feed(shards, log, *told)
    assert applied.duplicates == len(told)
    assert (shards.cells(), shards.incoming(), shards.history("a", "store")) == before
    feed(
        shards,
        log,
        # Before the count that survived: no effect. Then a count that needs the history.
        event(5, quantity=7, occurred_at=time_at(-11)),
        event(6, "count", quantity=1, occurred_at=time_at(-5)),
        event(7, "receipt", quantity=1, purchase_order="p"),
    )
    assert shards.cells() == {("a", "store"): (1 + 50 + 2 + 1, 0, 0, 0)}
    assert list(shards.incoming().values()) == [2]


def test_limits_may_be_raised_at_a_restart(tmp_path, log):
    """More ids and a longer history hold from then on, and nothing remembered is lost."""
    directory = tmp_path / "small"
    directory.mkdir()
    shards = Shards(directory, ids_max=1_000, history_max=1_024)
    feed(shards, log, *(event(n, occurred_at=time_at(n)) for n in range(700)))
    shards.write_checkpoints()
    shards.restart(ids_max=20_000, history_max=8_192)
    feed(shards, log, *(event(n, occurred_at=time_at(n)) for n in range(600, 6_000)))
    feed(shards, log, event("c", "count", quantity=0, occurred_at=time_at(100)))
    assert shards.cells() == {("a", "store"): (-5_899, 0, 0, 0)}
    statistics = shards.supply.statistics()
    assert (statistics.id_count, statistics.movement_count_max) == (6_001, 8_192)
    shards.close()


def test_lower_limits_forget_nothing_at_once(tmp_path, log):
    """What a checkpoint remembers is kept until it has been announced to go."""
    directory = tmp_path / "small"
    directory.mkdir()
    shards = Shards(directory)
    feed(shards, log, *(event(n) for n in range(3_000)))
    shards.write_checkpoints()
    shards.restart(ids_max=1_000, history_max=1_024, purchase_orders_max=1)
    again = log.batch([(0, offset) for offset in range(3_000)])
    again.events["offset"] += 3_000
    with pytest.raises(TableFull, match="--ids-max"):
        shards.apply(again)
    assert shards.supply.needs_checkpoint()
    for _ in range(2):
        shards.write_checkpoints()
    assert shards.supply.statistics().id_count < 3_000
    assert shards.supply.ids_since_us > 0
    shards.close()


def test_two_are_kept(shards, checkpoints, log):
    """The newest and the one before it, by numbers that only rise."""
    for number in range(4):
        feed(shards, log, event(number))
        write(shards, checkpoints)
    assert files(checkpoints) == [f"checkpoint-{n:012}.ohck" for n in (3, 4)]
    assert checkpoints.latest().number == 4


def test_one_a_day_is_archived_for_some_days(shards, tmp_path):
    """The first of a day stays for archive_days; the file is shared, not copied."""
    checkpoints = Checkpoints(tmp_path / "archived", archive_days=2, **IDENTITY)
    for half_day in range(10):
        write(shards, checkpoints, created_us=START_US + half_day * DAY_US // 2)
    archived = sorted(path.name for path in checkpoints.archive.iterdir())
    assert len(archived) == 3
    assert all(Checkpoint(checkpoints.archive / name).number for name in archived)
    assert checkpoints.oldest().path.name == archived[0]
    newest = checkpoints.archive / archived[-1]
    assert newest.stat().st_ino in {p.stat().st_ino for p in checkpoints.directory.glob("*.ohck")}


def damage(path, at, content=b"\xff"):
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = bytes(
        old ^ new for old, new in zip(whole[at : at + len(content)], content, strict=True)
    )
    path.write_bytes(whole)


@pytest.mark.parametrize("where", ["magic", "length", "header", "first", "middle", "last", "cut"])
def test_a_torn_checkpoint_is_passed_over(shards, checkpoints, log, where):
    """Whatever is wrong with the newest, the one before it is used, with a warning."""
    feed(shards, log, event(1))
    write(shards, checkpoints)
    feed(shards, log, event(2))
    path = write(shards, checkpoints).path
    size = path.stat().st_size
    if where == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        places = {"magic": 0, "length": 10, "header": PREAMBLE_BYTES + 5, "first": 4_096}
        damage(path, places.get(where, size - 1 if where == "last" else 70_000))
    with structlog.testing.capture_logs() as logs:
        found = checkpoints.latest()
    assert found.number == 1
    assert [(line["event"], line["path"]) for line in logs] == [("checkpoint_torn", str(path))]
    assert found.meta.offsets[0] == 1


def test_an_empty_file_is_a_torn_one(shards, checkpoints):
    """Even a name without content leads to the one before it."""
    write(shards, checkpoints)
    (checkpoints.directory / "checkpoint-000000000002.ohck").touch()
    with structlog.testing.capture_logs():
        assert checkpoints.latest().number == 1


def test_when_none_is_whole_nothing_is_guessed(shards, checkpoints):
    """A table is not rebuilt from a log that may be shorter than it, unless someone says so."""
    damage(write(shards, checkpoints).path, 70_000)
    with (
        structlog.testing.capture_logs(),
        pytest.raises(CheckpointInvalid, match="archive") as caught,
    ):
        checkpoints.latest()
    assert "checkpoint-000000000001.ohck" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("cluster_id", "ff" * 16, "--data"),
        ("log_identity", "log-2", "--kafka or --data"),
        ("shard", 1, "its own shard"),
        ("shard_count", 2, "shard_count"),
    ],
)
def test_a_checkpoint_of_another_deployment_is_refused(shards, checkpoints, field, value, advice):
    """The message names the file, what differs, and what to do."""
    path = write(shards, checkpoints).path
    other = Checkpoints(checkpoints.directory, **IDENTITY | {field: value})
    with pytest.raises(CheckpointInvalid, match=advice) as caught:
        other.latest()
    assert str(path) in caught.value.what
    assert field in caught.value.what


def test_a_checkpoint_of_another_format_is_refused(shards, checkpoints):
    """A newer version's checkpoint is not taken for a torn one."""
    damage(write(shards, checkpoints).path, 7, bytes([ord("1") ^ ord("2")]))
    with pytest.raises(CheckpointInvalid, match=r"format 2.*Start the version that wrote it"):
        checkpoints.latest()


@pytest.mark.parametrize("section", ["store", "private", "ids", "texts"])
def test_content_that_no_table_could_have_is_refused(shards, checkpoints, log, section, tmp_path):
    """What its checksums fit but does not hold together makes no table, and leaves no file."""
    feed(shards, log, event(1))
    image = shards.supply.freeze()
    image.sections[section] = [memoryview(bytes(48 if section != "store" else 1 << 20))]
    checkpoints.write(image, partitions=PARTITIONS, created_us=START_US)
    shards.close()
    with pytest.raises(CheckpointInvalid, match="does not hold together"):
        Supply.load(
            tmp_path / "loaded.table",
            checkpoints.latest(),
            cluster_id=bytes.fromhex(CLUSTER_ID),
            shard=0,
            shard_count=1,
            generation=2,
            **OPTIONS,
        )
    assert list(tmp_path.glob("*.table")) == []


def test_a_full_disk_leaves_the_checkpoints_before(shards, checkpoints, log):
    """What could not be written is taken away again, and the image is given back."""
    feed(shards, log, event(1))
    write(shards, checkpoints)
    feed(shards, log, event(2))
    image = shards.supply.freeze()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (image.size_bytes // 2, before[1]))
    try:
        with pytest.raises(TableUnavailable, match="no room for a checkpoint"):
            checkpoints.write(image, partitions=PARTITIONS, created_us=START_US)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in checkpoints.directory.iterdir()] == files(checkpoints)
    assert checkpoints.latest().number == 1
    write(shards, checkpoints)
    assert checkpoints.latest().meta.offsets[0] == 2


def test_a_directory_that_cannot_be_written_is_told(shards, tmp_path):
    """The path that is in the way is named."""
    (tmp_path / "taken").touch()
    checkpoints = Checkpoints(tmp_path / "taken", **IDENTITY)
    with pytest.raises(TableUnavailable, match="taken"):
        write(shards, checkpoints)
    shards.supply.freeze().release()


def test_every_partition_with_an_offset_must_be_named(shards, checkpoints, log):
    """Offsets without a partition would be lost, so they are an error of the caller."""
    shards.apply(log.batch([log.append(event(1), 1)]))
    with pytest.raises(ValueError, match="every partition"):
        write(shards, checkpoints, partitions=PARTITIONS[:1])
