"""Purchases at tills, which are no orders: what a receipt says was sold, and came back, there.

Whoever keeps the history of tills' events gives the order writer an object with :meth:`find`; the
writer asks it before it decides. What onhand itself has published on ``stock.ledger`` is no part of
a purchase: returns that the ledger knows are counted by the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PurchasedLine(Struct, frozen=True, kw_only=True):
    """Units of a SKU sold on a receipt, and those of them that a till's plain returns brought."""

    sku: str
    quantity: int
    returned: int = 0
    unit_price: float | None = None


class Purchase(Struct, frozen=True, kw_only=True):
    """What one receipt stands for; a SKU may have several lines."""

    receipt: str
    sold_us: int
    lines: tuple[PurchasedLine, ...]
    location: str | None = None
    customer_id: str | None = None


class Purchases(Protocol):
    """Finds purchases; one thread at a time. It may block for milliseconds, no longer."""

    def find(self, receipts: Sequence[str]) -> Mapping[str, Purchase]:
        """Find by receipt: the ``id``, ``basket_id`` or ``reference`` of the sale's event.

        Receipts that nobody knows, and those that several sales share without being one basket,
        are left out.

        Raises
        ------
        LedgerUnavailable
            It cannot be said now; the command is answered so and may be sent again.
        """


class NoPurchases:
    """Knows no receipt: for deployments that keep no history of tills."""

    def find(self, receipts: Sequence[str]) -> Mapping[str, Purchase]:
        """Find nothing."""
        del receipts
        return {}
