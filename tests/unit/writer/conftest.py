"""An order writer that decides, on either database."""

import contextlib

import pytest

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
