"""What simulated worlds of one test run share."""

import pytest

from onhand.simulation.run import open_places


@pytest.fixture(scope="session")
def places():
    """Give a ledger, a page of metrics and a folder in memory."""
    with open_places() as made:
        yield made
