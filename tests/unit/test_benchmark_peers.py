"""What sells more than there is, is found out; and peers come from wherever packages are served."""

from pathlib import Path

import pytest

from benchmarks.kit.http_load import bare_server, request
from benchmarks.peers import medusa, quix
from benchmarks.peers.scramble import ASKED_TIMES, HOT, Sold, scramble

UNITS = 5


def hold_of(number):
    return request("POST", "/v1/holds", b'{"sku":%d}' % number)


def test_a_server_that_accepts_everything_oversells(tmp_path):
    """Whatever its books say: the answers accepted every request, and there were fewer units."""
    with bare_server(b"{}", tmp_path, application="kit.bare_answer:answer_body") as port:
        sold = scramble(port, hold_of, lambda numbers: [0] * len(numbers), UNITS)
    assert sold.accepted == [UNITS * ASKED_TIMES] * len(HOT)
    assert sold.oversold == UNITS * (ASKED_TIMES - 1) * len(HOT)
    assert not sold.is_exact
    assert "60 accepted, 0 refused, 0 left, 40 oversold" in sold.words()


@pytest.mark.parametrize(
    ("accepted", "left", "oversold", "is_exact"),
    [
        ([5, 5], [0, 0], 0, True),
        ([5, 4], [0, 1], 0, True),
        ([5, 4], [0, 0], 0, False),
        ([6, 4], [0, 1], 1, False),
        ([6, 4], [-1, 1], 1, True),
    ],
)
def test_units_are_counted_sku_by_sku(accepted, left, oversold, is_exact):
    """What one SKU did not sell makes up for nothing that another oversold."""
    sold = Sold(5, accepted, left, refused=0, failed=0)
    assert (sold.oversold, sold.is_exact) == (oversold, is_exact)


def test_locked_packages_name_no_address():
    """A mirror must serve as well: npm and pip check what they get by its hash."""
    for folder in (medusa.SOURCE, quix.SOURCE):
        for lock in (*folder.glob("package-lock.json"), *folder.glob("requirements.txt")):
            text = lock.read_text()
            assert "resolved" not in text
            assert "sha512-" in text or "--hash=sha256:" in text
    assert "omit-lockfile-registry-resolved=true" in Path(medusa.SOURCE, ".npmrc").read_text()
