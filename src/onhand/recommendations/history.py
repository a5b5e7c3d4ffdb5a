"""What customers bought lately, as recommending needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from onhand.orders.book import decode_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onhand.customers.store import CustomerStore
    from onhand.ledger.order_reads import OrderReads

PURCHASES_MAX: Final = 20
"""The newest orders, and the newest purchases in stores, that are looked at."""


class History(Protocol):
    """Knows what customers bought."""

    def recent_skus(self, customer_id: str) -> list[str]:
        """Name the SKUs that a customer bought lately, the newest first; none of a stranger."""
        ...


class BoughtLately:
    """Orders and purchases in stores, by time. Every read blocks; use a thread.

    Parameters
    ----------
    orders
        Of the ledger.
    purchases
        In stores.
    """

    def __init__(self, orders: OrderReads, purchases: CustomerStore) -> None:
        self._orders = orders
        self._purchases = purchases

    def recent_skus(self, customer_id: str) -> list[str]:
        """Name the SKUs of the newest orders and purchases, each once, the newest first.

        Raises
        ------
        LedgerUnavailable
            A database fails.
        """
        bought = sorted(self._bought(customer_id), key=lambda each: -each[0])
        return list(dict.fromkeys(sku for _, skus in bought for sku in skus))

    def _bought(self, customer_id: str) -> Iterator[tuple[int, list[str]]]:
        page = self._orders.orders(customer=customer_id, limit=PURCHASES_MAX)
        for row in page.rows:
            yield row.created_us, [line.sku for line in decode_order(row.document).lines]
        for each in self._purchases.of_customer(customer_id, None, PURCHASES_MAX):
            if each.kind == "purchase":
                yield each.occurred_us, [sku for sku, _ in each.details.lines]
