"""What the table must say after a replay, by another road: pandas over the raw lines.

Deliberately shares nothing with :mod:`onhand.replay.events`, so that a fault there shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from onhand.replay.shelves import location_of

if TYPE_CHECKING:
    from onhand.replay.sales import Sales
    from onhand.replay.shelves import Deliveries


def expected_cells(sales: Sales, deliveries: Deliveries) -> pd.DataFrame:
    """Sum every cell: columns ``sku``, ``location``, ``on_hand``, one row a cell."""
    sold = pd.DataFrame({"s": sales.store, "p": sales.product, "q": -sales.quantity})
    came = pd.DataFrame({"s": deliveries.store, "p": deliveries.product, "q": deliveries.quantity})
    cells = pd.concat([sold, came]).groupby(["s", "p"], sort=True).q.sum().reset_index()
    names = {store: location_of(store) for store in cells.s.unique()}
    return pd.DataFrame(
        {"sku": cells.p.astype(str), "location": cells.s.map(names), "on_hand": cells.q}
    )
