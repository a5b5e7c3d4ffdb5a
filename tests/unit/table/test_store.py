"""The store: names, rows and space, seen through a reader's map of it."""

import subprocess
import sys

import numpy as np
import pytest

from onhand._native.reader import Table
from onhand._native.storekit import StoreError, StoreKit
from onhand.errors import TableUnavailable
from tests.needs import lack
from tests.tables import tables

__all__ = ["tables"]

NO_SPACE, TABLE_FULL, CORRUPT, IO = -1, -2, -4, -5


@pytest.fixture
def kit(tmp_path):
    return StoreKit(tmp_path / "one.table", capacity_bytes=1 << 28)


@pytest.fixture
def table(kit, tmp_path):  # noqa: ARG001 - the file must be there
    return Table(tmp_path / "one.table")


def cells_of(table, sku):
    """Return a row as {location number: (on_hand, held, in_transit, damaged)}."""
    location, *columns, _ = table.row(table.find_sku(sku))
    return dict(
        zip(location.tolist(), zip(*(c.tolist() for c in columns), strict=True), strict=True)
    )


def test_names_keep_their_numbers_while_the_indexes_grow(kit, table):
    """Every SKU and location is found by its name, long ones and other scripts included."""
    skus = [f"sku-{n}" for n in range(5_000)] + ["é" * 64, "𝄞" * 64, "x" * 41, "x" * 40, "ключ"]
    locations = [f"store-{n}" for n in range(2_500)] + ["𝄞" * 64]
    assert [kit.sku(sku) for sku in skus] == list(range(len(skus)))
    assert [kit.location(name) for name in locations] == list(range(len(locations)))
    assert [table.find_sku(sku) for sku in skus] == list(range(len(skus)))
    assert [table.find_location(name) for name in locations] == list(range(len(locations)))
    assert table.sku_names() == skus
    assert table.location_names() == locations


@pytest.mark.parametrize("name", ["", "sku", "sku-12 ", "x" * 257, "\ud800"])
def test_a_name_never_written_is_not_found(kit, table, name):
    """What cannot be a name is unknown, not an error."""
    kit.sku("sku-12")
    kit.location("sku-12")
    assert table.find_sku(name) is None
    assert table.find_location(name) is None


def test_a_row_widens_past_32_bits_and_keeps_every_counter(kit, table):
    """A counter that outgrows its column takes the whole row to wider ones."""
    kit.add("a", "x", on_hand=2**31 - 1)
    kit.add("a", "y", held=5, damaged=-3)
    kit.add("a", "x", on_hand=1)
    kit.add("a", "y", on_hand=-(2**40))
    assert cells_of(table, "a") == {0: (2**31, 0, 0, 0), 1: (-(2**40), 5, 0, -3)}


def test_rows_grow_to_thousands_of_cells(kit, table):
    """Each cell keeps its numbers however often its row moves."""
    for n in range(3_000):
        kit.add("a", f"store-{n}", on_hand=n, held=n % 3)
    assert cells_of(table, "a") == {n: (n, n % 3, 0, 0) for n in range(3_000)}


def test_incoming_is_kept_in_order_and_goes_at_zero(kit, table):
    """What is due at a place on a day is one entry; none is left of 0."""
    for place, day, quantity in [("y", 5, 3), ("x", 9, 1), ("x", 2, 4), ("y", 5, -3), ("x", 9, 6)]:
        kit.add_incoming("a", place, day, quantity)
    x = table.find_location("x")
    assert table.row(0)[-1] == [(x, 2, 4), (x, 9, 7)]


def test_blocks_that_rows_leave_are_used_again(kit, table):
    """Rows that grow one after the other take little more than they need at the end."""
    for n in range(2_000):
        for place in range(10):
            kit.add(f"sku-{n}", f"store-{place}", 1)
    used = table.statistics()
    before_rows = 65_536 + 64 * 65_536
    assert used["cells"] == 20_000
    assert used["row_bytes"] / 20_000 < 20
    assert used["used_bytes"] - before_rows < 20_000 * 64


def test_a_copy_of_the_bytes_is_the_same_table(kit, table, tmp_path):
    """An image read into a new file goes on where the first was."""
    kit.add("a", "x", 5, held=1)
    kit.add("b" * 50, "y", 7)
    kit.add_incoming("a", "x", 3, 4)
    copy = StoreKit(tmp_path / "two.table", capacity_bytes=1 << 27, image=kit.image())
    copy.add("a", "x", 1)
    copy.add("c", "z", 2)
    second = Table(tmp_path / "two.table")
    assert cells_of(second, "a") == {0: (6, 1, 0, 0)}
    assert second.sku_names() == ["a", "b" * 50, "c"]
    assert second.row(0)[-1] == [(0, 3, 4)]
    assert second.change_seq == table.change_seq + 2


def test_a_torn_image_is_refused(kit, tmp_path):
    """An image whose header says more than it holds does not become a table."""
    with pytest.raises(StoreError) as failure:
        StoreKit(tmp_path / "two.table", image=kit.image()[:70_000])
    assert failure.value.args[0] == CORRUPT


def test_a_full_table_says_so_and_stays_readable(tmp_path):
    """Reaching the capacity is an error of the writer alone."""
    kit = StoreKit(tmp_path / "small.table", capacity_bytes=6 << 20)
    table = Table(tmp_path / "small.table")
    kit.add("a", "x", 5)
    with pytest.raises(StoreError) as failure:
        kit.skus([f"sku-{n}" for n in range(100_000)])
    assert failure.value.args[0] == TABLE_FULL
    assert cells_of(table, "a") == {0: (5, 0, 0, 0)}
    kit.add("a", "x", 1)
    assert cells_of(table, "a") == {0: (6, 0, 0, 0)}


FILL = """
import sys
from onhand._native.storekit import StoreError, StoreKit
kit = StoreKit(sys.argv[1], capacity_bytes=1 << 30)
try:
    for n in range(10**6):
        kit.add(f"sku-{n}", "x", 1)
except StoreError as error:
    print(error.args[0], n > 1000)
"""


def test_a_file_system_without_room_is_an_error_and_not_a_signal(tmp_path):
    """Space is taken before it is touched, so running out of it kills nobody."""
    mount = 'mount -t tmpfs -o size=40m tmpfs "$1" && exec "$2" -c "$3" "$1/one.table"'
    shell = ["sh", "-c", mount, "sh", tmp_path, sys.executable, FILL]
    unshare = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        lack("this host lets nobody mount a small file system")
    run = subprocess.run([*unshare, *shell], check=True, capture_output=True, text=True)
    assert run.stdout.split() == [str(NO_SPACE), "True"]


@pytest.mark.usefixtures("kit")
def test_an_existing_file_is_never_written_over(tmp_path):
    """Readers may have it mapped."""
    with pytest.raises(StoreError) as failure:
        StoreKit(tmp_path / "one.table")
    assert failure.value.args[0] == IO


@pytest.mark.parametrize("content", [b"", b"x" * 70_000])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    """Opening one says what to do."""
    path = tmp_path / "rubbish.table"
    path.write_bytes(content)
    with pytest.raises(TableUnavailable, match="not a table of this version"):
        Table(path)


def test_many_cells_added_by_number_are_all_there(kit, table):
    """The fast loop writes what the slow one would."""
    rng = np.random.default_rng(1)
    skus = kit.skus([f"sku-{n}" for n in range(100)])
    for n in range(20):
        kit.location(f"store-{n}")
    picked = rng.choice(skus, 5_000).astype(np.uint32)
    places = rng.integers(0, 20, 5_000, dtype=np.uint32)
    deltas = rng.integers(-5, 10, 5_000, dtype=np.int32)
    kit.add_numbers(picked, places, deltas, counted=True)
    expected = np.zeros((100, 20), np.int64)
    np.add.at(expected, (picked, places), deltas)
    cells = table.cells()
    found = np.zeros((100, 20), np.int64)
    found[cells["sku"], cells["location"]] = cells["on_hand"]
    assert (found == expected).all()
