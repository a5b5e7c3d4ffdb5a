"""What may come back, until when, and what becomes of it: rules that an operator sets up.

A policy is replaced whole and numbered; every line of a return names the policy and the rule that
decided it.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from onhand.errors import FieldError
from onhand.model.access import Role
from onhand.model.validate import Text64, check, printable

Disposition = Literal["sellable", "inspect", "damaged"]

DEFAULT_RULE: Final = "default"
STRICTNESS: Final[tuple[Disposition, ...]] = ("sellable", "inspect", "damaged")
"""From what may be sold again at once to what never is."""

Days = Annotated[int, Meta(ge=0, le=3_650)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class ReturnRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different for one SKU or one category; what is left out is as for all others.

    ``restock`` is the best that units of it can come back as: those told to be better are not
    believed. ``send_to`` is where they belong in the end.
    """

    sku: Text64 | None = None
    category: Text64 | None = None
    returnable: bool = True
    window_days: Days | None = None
    restock: Disposition = "sellable"
    fee_percent: Percent | None = None
    send_to: Text64 | None = None

    def __post_init__(self) -> None:
        """Check that the rule is about one thing.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [
            error
            for name in ("sku", "category", "send_to")
            for error in printable(f"/{name}", getattr(self, name))
        ]
        if (self.sku is None) == (self.category is None):
            errors.append(FieldError("/category", "give either a sku or a category"))
        check("not a valid return rule", errors)

    @property
    def name(self) -> str:
        """How a decision names the rule."""
        return f"sku {self.sku}" if self.sku is not None else f"category {self.category}"


class ReturnPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of one version; version 0 is what holds while nobody has set any up.

    ``window_days`` run from the hand-over. ``authorisation_days`` are how long an announced return
    is waited for. ``reasons`` are those accepted, any when there are none. Without an order or a
    receipt units are taken back at ``blind_locations`` and places of ``blind_groups`` alone.
    """

    version: int = 0
    window_days: Days = 30
    authorisation_days: Annotated[int, Meta(ge=1, le=365)] = 14
    reasons: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...], Meta(max_length=200)
    ] = ()
    override_roles: Annotated[tuple[Role, ...], Meta(max_length=5)] = ("admin",)
    blind_locations: Annotated[tuple[Text64, ...], Meta(max_length=10_000)] = ()
    blind_groups: Annotated[tuple[Text64, ...], Meta(max_length=100)] = ()
    mail_location: Text64 | None = None
    fee_percent: Percent = 0.0
    rules: Annotated[tuple[ReturnRule, ...], Meta(max_length=10_000)] = ()

    def __post_init__(self) -> None:
        """Check that names are printable and no two rules are about the same thing.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [*printable("/mail_location", self.mail_location)]
        for field in ("blind_locations", "blind_groups", "reasons"):
            for index, name in enumerate(getattr(self, field)):
                errors += printable(f"/{field}/{index}", name)
        seen: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.name in seen:
                errors.append(FieldError(f"/rules/{index}", "is about the same as one before it"))
            seen.add(rule.name)
        check("not a valid return policy", errors)

    def rule_of(self, sku: str, category: str | None) -> ReturnRule | None:
        """Find the rule about a SKU, else about its category."""
        by_sku = (each for each in self.rules if each.sku == sku)
        by_category = (
            each for each in self.rules if category is not None and each.category == category
        )
        return next(itertools.chain(by_sku, by_category), None)


def stricter(told: Disposition, best: Disposition) -> Disposition:
    """Choose the less sellable of what was told and what a rule allows at best."""
    return max(told, best, key=STRICTNESS.index)
