"""The data directory's identity and its bond to one log."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from onhand.errors import WrongDataDirectory
from onhand.identity import open_identity, read_identity


def test_first_start_makes_an_identity_that_stays(tmp_path):
    """A directory gets an id at its first start and keeps it."""
    data = tmp_path / "new" / "data"
    assert read_identity(data) is None
    made = open_identity(data, log="log-1")
    assert len(made.id) == 32
    assert open_identity(data, log="log-1") == made == read_identity(data)
    assert json.loads((data / "cluster.json").read_text()) == {
        "id": made.id,
        "format": 1,
        "log": "log-1",
    }


def test_log_is_bound_when_it_is_first_known(tmp_path):
    """An identity made without a log is bound to the first log it meets."""
    made = open_identity(tmp_path)
    assert made.log is None
    bound = open_identity(tmp_path, log="log-1")
    assert (bound.id, bound.log) == (made.id, "log-1")
    assert open_identity(tmp_path) == bound


def test_another_log_is_refused(tmp_path):
    """A data directory is not used with a log that its offsets do not belong to."""
    open_identity(tmp_path, log="log-1")
    with pytest.raises(
        WrongDataDirectory, match="belongs to the log log-1, not to log-2"
    ) as caught:
        open_identity(tmp_path, log="log-2")
    assert "--data" in caught.value.advice
    assert read_identity(tmp_path).log == "log-1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b"{", "is damaged"),
        (b'{"id": 3}', "is damaged"),
        (b'{"id": "a", "format": 2}', "has format 2"),
    ],
)
def test_unreadable_identity_is_refused(tmp_path, content, said):
    """A damaged identity, or one of another format, is told and not replaced."""
    (tmp_path / "cluster.json").write_bytes(content)
    with pytest.raises(WrongDataDirectory, match=said):
        open_identity(tmp_path)
    assert (tmp_path / "cluster.json").read_bytes() == content


def test_directory_that_cannot_be_made_is_told(tmp_path):
    """A data directory that cannot exist is an error with advice."""
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongDataDirectory, match="Correct --data"):
        open_identity(tmp_path / "file" / "data")


def test_first_starts_at_once_agree(tmp_path):
    """Processes that start at once on a new directory all get the same identity."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: open_identity(tmp_path, log="l"), range(16)))
    assert len({each.id for each in found}) == 1
