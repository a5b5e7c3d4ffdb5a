"""An order writer that decides, on either database."""

import contextlib

import pytest

from onhand.ledger import OrderStore
from tests.writers import Deployment


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request):
    """Give the address of a ledger, None for the embedded one."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else None


@pytest.fixture
def deploy(tmp_path, database):
    """Make deployments with 1,000 apples in two stores; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            made = stack.enter_context(
                contextlib.closing(Deployment(tmp_path, database, **options))
            )
            made.set_up("north", "south")
            made.kit.add("apple", "north", on_hand=1_000)
            made.kit.add("apple", "south", on_hand=1_000)
            made.publish()
            return made

        yield make


@pytest.fixture
def shop(deploy):
    """Give a deployment whose order writer decides."""
    return deploy().open()


class Faulty:
    """An order store whose next commit or settlement does as the test says."""

    def __init__(self, store):
        self._store = store
        self.commits = []
        self.settlements = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def commit(self, commit):
        if not commit.is_empty and self.commits:
            return self.commits.pop(0)(self._store, commit)
        return self._store.commit(commit)

    def settle(self):
        if self.settlements:
            return self.settlements.pop(0)(self._store)
        return self._store.settle()


@pytest.fixture
def faulty(deploy, monkeypatch):
    """Give a deployment that decides, and its store, which a test may disturb."""
    made = []

    def make(ledger, **options):
        made.append(Faulty(OrderStore(ledger, **options)))
        return made[-1]

    monkeypatch.setattr("onhand.writer.recovery.OrderStore", make)
    shop = deploy().open()
    return shop, made[-1]
