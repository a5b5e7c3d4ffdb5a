"""Why a command is refused: published codes, each with the rule it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from onhand.errors import FieldError, OnhandError

CODES: Final[dict[str, str]] = {
    "unknown_sku": "No event and no set-up has named the SKU",
    "unknown_location": "No event and no set-up has named the location",
    "unknown_group": "No location is set up to be in the group",
    "unknown_hold": "There is no hold with this id",
    "unknown_order": "There is no order with this id",
    "unknown_task": "There is no task with this id",
    "unknown_return": "There is no return with this id",
    "unknown_receipt": "No purchase is known by the receipt",
    "unknown_line": "The order, task or return has no line with this id",
    "unknown_postal_code": "The destination's postal code is not known; send coordinates",
    "insufficient_stock": "There is not enough to promise",
    "hold_expired": "The hold has expired and its units are free again",
    "hold_closed": "The hold was released, or turned into an order",
    "hold_mismatch": "The order asks for units that the hold does not hold, or holds elsewhere",
    "order_exists": "An order with this id was placed before",
    "location_disabled": "The location is closed to orders",
    "pickup_unavailable": "Customers cannot collect at the location",
    "shipping_unavailable": "No enabled location ships",
    "wrong_pickup_code": "The pickup code is not that of the order",
    "return_window_over": "The time in which the units could come back is over",
    "return_not_allowed": "The return policy does not allow it",
    "override_forbidden": "The role may not set rules of the return policy aside",
    "wrong_customer": "The order or receipt is another customer's",
    "wrong_state": "The task, order or return is past, or not yet at, the step that this asks for",
    "quantity_exceeded": "More units than there are left for this step",
    "wrong_location": "The token is not bound to the location",
    "wrong_channel": "An associate's order is one of the channel `store`",
    "too_many_open": "More is open than the settings allow",
    "supply_stale": "The stock numbers are too old to promise by",
}


class Refusal(OnhandError):
    """A command that is not carried out; nothing has changed.

    Parameters
    ----------
    code
        One of :data:`CODES`.
    detail
        What is wrong, a sentence.
    errors
        The fields at fault.
    more
        Members to add to the problem document, such as what is wanted and available.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.refusal_code = code
        self.errors = tuple(errors)
        self.more = more or {}


def refuse(code: str, detail: str, pointer: str | None = None, **more: Any) -> Refusal:
    """Make a refusal that blames at most one field."""
    errors = () if pointer is None else (FieldError(pointer, detail),)
    return Refusal(code, detail, errors, more)
