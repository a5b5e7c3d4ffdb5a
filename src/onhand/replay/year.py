"""The year as one thing: sales, deliveries, and the events they make."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from onhand.replay.disorder import Disturbance, Tally, disturb
from onhand.replay.events import build_events, group_lines
from onhand.replay.expected import expected_cells
from onhand.replay.places import build_places
from onhand.replay.sales import Sales, load_sales, load_skus
from onhand.replay.shelves import Deliveries, derive_deliveries

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from onhand.log.base import NewRecord
    from onhand.model.setup import Location, Sku


class Year:
    """A replay, wholly determined by when it ends, its limit, its seed and its disturbance.

    Attributes
    ----------
    tally
        What :meth:`records` has mixed in, counted while it is read.
    """

    def __init__(self, sales: Sales, *, seed: int, disturbance: Disturbance) -> None:
        self.sales = sales
        self.deliveries: Deliveries = derive_deliveries(sales, seed)
        self.disturbance = disturbance
        self.tally = Tally()
        self._seed = seed

    @cached_property
    def event_count(self) -> int:
        """How many distinct events there are, duplicates and rubbish not counted."""
        came = self.deliveries
        arrived = group_lines(came.occurred_us, came.store, came.number, came.occurred_us)
        sold = group_lines(self.sales.occurred_us, self.sales.basket)
        return len(sold.start) + len(arrived.start)

    @property
    def line_count(self) -> int:
        """How many lines those events have."""
        return self.sales.line_count + len(self.deliveries.store)

    def records(self) -> Iterator[NewRecord]:
        """Encode the events in order, disturbed as asked."""
        self.tally = Tally()
        clean = build_events(self.sales, self.deliveries)
        if self.disturbance == Disturbance():
            return clean
        return disturb(clean, self.disturbance, self.tally, self._seed)

    def expected_cells(self) -> pd.DataFrame:
        """Say what every cell must hold in the end; see :func:`~onhand.replay.expected_cells`."""
        return expected_cells(self.sales, self.deliveries)

    def places(self) -> list[Location]:
        """Place the stores and warehouses."""
        return build_places(self.sales)

    def skus(self) -> list[Sku]:
        """Name and categorise what was sold."""
        return load_skus(self.sales)


def load_year(
    now_us: int,
    *,
    limit: int | None = None,
    seed: int = 0,
    disturbance: Disturbance | None = None,
) -> Year:
    """Load the year so that it ends at ``now_us``.

    Parameters
    ----------
    now_us
        When the last sale happens, microseconds since 1970 UTC.
    limit
        The first so many sale lines only.
    seed
        Picks delivery days, buffers and disturbances.
    disturbance
        Duplicates, disorder and rubbish to mix in; none by default.
    """
    return Year(
        load_sales(now_us, limit=limit), seed=seed, disturbance=disturbance or Disturbance()
    )
