"""What each role opens."""

import pytest

from onhand.model.access import OPEN_GRANT, ROLES, Grant

OPENED = {
    "storefront": {"storefront"},
    "publisher": {"publisher"},
    "orders": {"orders", "storefront"},
    "associate": {"associate", "storefront"},
    "admin": set(ROLES),
}


@pytest.mark.parametrize("role", ROLES)
def test_role_opens_its_routes_only(role):
    """Each role opens exactly the routes documented for it."""
    grant = Grant(token_id="t", role=role, locations=frozenset({"a"}))
    assert {wanted for wanted in ROLES if grant.allows(wanted)} == OPENED[role]


def test_associate_works_at_its_own_locations():
    """An associate does a store's work at its locations only, and reads stock anywhere."""
    grant = Grant(token_id="t", role="associate", locations=frozenset({"a"}))
    assert grant.allows("associate", "a")
    assert not grant.allows("associate", "b")
    assert grant.allows("storefront", "b")


def test_admin_is_bound_to_no_location():
    """An admin, and everyone without authentication, works at any location."""
    assert Grant(token_id="t", role="admin").allows("associate", "b")
    assert OPEN_GRANT.allows("associate", "b")
