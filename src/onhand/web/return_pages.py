"""What the ledger says of returns, as JSON and as slips. Every read blocks; use a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from onhand.model.return_policy import ReturnPolicy
from onhand.orders.book import decode_return
from onhand.orders.refusal import refuse
from onhand.orders.return_views import return_view
from onhand.web.order_pages import LedgerMovements, may_exist, must_be_printable
from onhand.web.slip import slip

if TYPE_CHECKING:
    from onhand.ledger.engine import Ledger
    from onhand.ledger.order_reads import OrderReads
    from onhand.model.returns import Return
    from onhand.model.setup import Setup
    from onhand.web.order_pages import Moved
    from onhand.web.parameters import ReturnListParameters

_MOVING: Final = frozenset({"received", "inspected"})

_encode = msgspec.json.Encoder().encode


class ReturnPages:
    """Writes the ledger's answers about returns.

    Parameters
    ----------
    reads
        Of the ledger, by any thread.
    """

    def __init__(self, reads: OrderReads, ledger: Ledger) -> None:
        self._reads = reads
        self._movements = LedgerMovements(ledger)

    def find(self, return_id: str) -> Return:
        """Read a return.

        Raises
        ------
        Refusal
            ``unknown_return``.
        """
        row = self._reads.return_(return_id) if may_exist(return_id) else None
        if row is None:
            raise refuse("unknown_return", f"there is no return {return_id!r}")
        return decode_return(row.document)

    def return_(self, return_id: str) -> bytes:
        """Write a return.

        Raises
        ------
        Refusal
            ``unknown_return``.
        """
        return _encode(return_view(self.find(return_id)))

    def returns(self, asked: ReturnListParameters) -> bytes:
        """Write a page of returns, the newest first.

        Raises
        ------
        InvalidInput, ProblemError
            A parameter is wrong.
        """
        must_be_printable("order_id", asked.order_id)
        must_be_printable("receipt", asked.receipt)
        page = self._reads.returns(
            order_id=asked.order_id,
            receipt=asked.receipt,
            status=asked.status,
            cursor=asked.cursor,
            limit=asked.limit,
        )
        items = [return_view(decode_return(row.document)) for row in page.rows]
        return _encode({"items": items, "next": page.next})

    def slip(self, return_id: str, setup: Setup) -> str:
        """Write the slip of a return, HTML.

        Raises
        ------
        Refusal
            ``unknown_return``; ``wrong_state`` when nothing is awaited.
        """
        return_ = self.find(return_id)
        if not return_.is_open():
            detail = f"return {return_id!r} is {return_.status}: nothing is to be sent"
            raise refuse("wrong_state", detail)
        return slip(return_, setup)

    def explanation(self, return_id: str) -> bytes:
        """Write why a return is as it is: the policies that decided, and what it has moved.

        Raises
        ------
        Refusal
            ``unknown_return``.
        """
        return_ = self.find(return_id)
        times = {each.at_us for each in return_.history if each.what in _MOVING}
        versions = sorted({line.decision.policy_version for line in return_.lines})
        return _encode(
            {
                "return": return_view(return_),
                "policies": [self._policy(version) for version in versions],
                "ledger": self._movements.at(times, lambda moved: _is_of(moved, return_)),
            }
        )

    def _policy(self, version: int) -> Any:
        document = self._reads.return_policy(version)
        if document is None:
            return ReturnPolicy(version=version)
        return msgspec.Raw(document.encode())


def _is_of(moved: Moved, return_: Return) -> bool:
    """Tell whether a movement is of a return; a till may have named its order alone."""
    named = (moved.attributes or {}).get("return_id")
    if named is not None:
        return bool(named == return_.id)
    return return_.order_id is not None and moved.order_id == return_.order_id
