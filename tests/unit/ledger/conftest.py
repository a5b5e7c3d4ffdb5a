"""A ledger on either database, and stores on it."""

import contextlib

import pytest

from onhand.ledger import OrderStore, open_ledger, sqlite_link
from onhand.settings import Settings


@pytest.fixture(params=["sqlite", "driver", pytest.param("postgres", marks=pytest.mark.postgres)])
def settings(request, tmp_path, monkeypatch):
    """Name an empty database; ``driver`` is SQLite where Python's own is out of reach."""
    if request.param == "driver":
        monkeypatch.setattr(sqlite_link, "IS_NATIVE", False)
    if request.param != "postgres":
        return Settings(data=tmp_path)
    return Settings(data=tmp_path, database=request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(settings):
    with contextlib.closing(open_ledger(settings)) as opened:
        yield opened


@pytest.fixture
def make_store(ledger):
    """Make stores on the ledger; all are closed at the end."""
    with contextlib.ExitStack() as made:
        yield lambda **options: made.enter_context(
            contextlib.closing(OrderStore(ledger, **options))
        )


@pytest.fixture
def store(make_store):
    """Give a store that has taken over."""
    made = make_store()
    made.take_over("test", 1)
    return made
