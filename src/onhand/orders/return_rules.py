"""Whether a line may come back: the policy's rules, and who may set them aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from onhand.errors import FieldError
from onhand.model.return_policy import DEFAULT_RULE
from onhand.model.returns import Decision
from onhand.model.setup import ALL
from onhand.orders.desk import rfc3339
from onhand.orders.refusal import Refusal, refuse

if TYPE_CHECKING:
    from onhand.model.return_commands import AuthoriseReturn
    from onhand.model.return_policy import ReturnPolicy, ReturnRule
    from onhand.orders.desk import Actor, Desk

DAY_US = 86_400_000_000

TAKEN_AT_TILL = "brought to a till"
FOUND_IN_PARCEL = "not announced"


class Broken(NamedTuple):
    """A rule that a line breaks."""

    code: str
    detail: str
    pointer: str


class Asked(NamedTuple):
    """A line that is to come back, as far as rules look at it; ``sold_us`` None when unknown."""

    sku: str
    reason: str
    sold_us: int | None
    pointer: str


def judge(
    desk: Desk, asked: Asked, body: AuthoriseReturn, actor: Actor, now_us: int
) -> Decision | list[Broken]:
    """Decide about one announced line; list the rules it breaks when nobody sets them aside."""
    policy = desk.setup.return_policy
    rule = _rule(desk, asked.sku)
    window_ends_us = None
    if asked.sold_us is not None:
        window_ends_us = asked.sold_us + _days(policy, rule) * DAY_US
    broken = _broken(desk, asked, window_ends_us, now_us)
    if broken and not _may_override(policy, body, actor):
        return broken
    return _decision(
        policy,
        rule,
        window_ends_us=window_ends_us,
        overridden=tuple(each.code for each in broken),
        override_reason=body.override if broken else None,
        by=actor.name,
    )


def refused(broken: list[Broken], body: AuthoriseReturn, policy: ReturnPolicy) -> Refusal:
    """Refuse for all rules that lines break, by the code of the first."""
    errors = [FieldError(each.pointer, each.detail) for each in broken]
    if body.override is None:
        return Refusal(broken[0].code, broken[0].detail, errors)
    roles = ", ".join(policy.override_roles) or "nobody"
    detail = f"{broken[0].detail}; of roles, {roles} may set that aside"
    errors.append(FieldError("/override", f"is for {roles}"))
    return Refusal("override_forbidden", detail, errors)


def unasked(desk: Desk, sku: str, by: str) -> Decision:
    """Decide about units that are there already, whether or not they would have been allowed."""
    return _decision(desk.setup.return_policy, _rule(desk, sku), by=by)


def may_be_blind(desk: Desk, location: str) -> bool:
    """Tell whether a location takes back units of which nobody says where they were sold."""
    policy = desk.setup.return_policy
    if location in policy.blind_locations or ALL in policy.blind_groups:
        return True
    known = desk.setup.locations.get(location)
    return known is not None and not set(known.groups).isdisjoint(policy.blind_groups)


def send_to(desk: Desk, sku: str) -> str | None:
    """Say where units of a SKU belong in the end, by its rule."""
    rule = _rule(desk, sku)
    return rule.send_to if rule is not None else None


def must_accept_blind(desk: Desk, location: str, body: AuthoriseReturn, actor: Actor) -> None:
    """Refuse a return without order and receipt where that is not done.

    Raises
    ------
    Refusal
        ``return_not_allowed`` or ``override_forbidden``.
    """
    policy = desk.setup.return_policy
    if may_be_blind(desk, location) or _may_override(policy, body, actor):
        return
    detail = f"{location!r} takes nothing back without an order or a receipt"
    raise refused([Broken("return_not_allowed", detail, "/location")], body, policy)


def unknown_receipt(receipt: str) -> Refusal:
    """Refuse a receipt that no purchase is known by."""
    return refuse("unknown_receipt", f"no purchase is known by {receipt!r}", "/receipt")


def _rule(desk: Desk, sku: str) -> ReturnRule | None:
    known = desk.setup.skus.get(sku)
    category = known.category if known is not None else None
    return desk.setup.return_policy.rule_of(sku, category)


def _days(policy: ReturnPolicy, rule: ReturnRule | None) -> int:
    if rule is not None and rule.window_days is not None:
        return rule.window_days
    return policy.window_days


def _broken(desk: Desk, asked: Asked, window_ends_us: int | None, now_us: int) -> list[Broken]:
    policy = desk.setup.return_policy
    rule = _rule(desk, asked.sku)
    broken = []
    if window_ends_us is not None and now_us > window_ends_us:
        detail = f"{asked.sku!r} could come back until {rfc3339(window_ends_us)}"
        broken.append(Broken("return_window_over", detail, asked.pointer))
    if rule is not None and not rule.returnable:
        detail = f"{asked.sku!r} is not taken back, by the rule on {rule.name}"
        broken.append(Broken("return_not_allowed", detail, asked.pointer))
    if policy.reasons and asked.reason not in policy.reasons:
        detail = f"must be {' or '.join(policy.reasons)}"
        broken.append(Broken("return_not_allowed", detail, f"{asked.pointer}/reason"))
    return broken


def _may_override(policy: ReturnPolicy, body: AuthoriseReturn, actor: Actor) -> bool:
    return body.override is not None and actor.role in {"system", *policy.override_roles}


def _decision(
    policy: ReturnPolicy,
    rule: ReturnRule | None,
    *,
    by: str,
    window_ends_us: int | None = None,
    overridden: tuple[str, ...] = (),
    override_reason: str | None = None,
) -> Decision:
    fee = rule.fee_percent if rule is not None else None
    return Decision(
        policy_version=policy.version,
        rule=rule.name if rule is not None else DEFAULT_RULE,
        restock=rule.restock if rule is not None else "sellable",
        fee_percent=policy.fee_percent if fee is None else fee,
        window_ends_us=window_ends_us,
        overridden=overridden,
        override_reason=override_reason,
        by=by,
    )
