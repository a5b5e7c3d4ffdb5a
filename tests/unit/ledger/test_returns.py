"""Returns and return policies in the ledger: kept, found, listed, and every version readable."""

import msgspec
import pytest

from onhand.errors import InvalidInput
from onhand.ledger import SetupStore
from onhand.ledger.rows import Commit
from onhand.model.return_policy import ReturnPolicy, ReturnRule
from tests.order_rows import batch, return_


def ids(page):
    return [row.id for row in page.rows]


def test_returns_are_read_back(store):
    """By id, by receipt, and those that are waited for when a writer opens."""
    store.commit(batch(1))
    closed = return_(9, status="closed", receipt="b-1", is_open=False)
    store.commit(Commit(returns=[closed]))
    assert store.return_("r000003") == return_(3, order_id="o000003")
    assert store.return_("?") is None
    assert store.load_returns(["r000009", "?"]) == {"r000009": closed}
    assert store.returns_of_receipts(["b-1", "b-2"]) == [closed]
    waited_for = {row.id for row in store.load_open_returns()}
    assert waited_for == {"r000003", "r000004", "r000005"}


def test_returns_are_listed_by_what_they_are_about(store):
    """The newest first, of one order, one receipt, one status, or all; page by page."""
    store.commit(Commit(returns=[return_(n, order_id="o1") for n in range(3)]))
    store.commit(Commit(returns=[return_(n, receipt="b", status="closed") for n in (5, 7)]))
    assert ids(store.returns(order_id="o1")) == ["r000002", "r000001", "r000000"]
    assert ids(store.returns(receipt="b")) == ["r000007", "r000005"]
    assert ids(store.returns(status="closed", order_id="o1")) == []
    first = store.returns(limit=3)
    assert ids(first) == ["r000007", "r000005", "r000002"]
    rest = store.returns(limit=3, cursor=first.next)
    assert (ids(rest), rest.next) == (["r000001", "r000000"], None)
    with pytest.raises(InvalidInput):
        store.returns(cursor="rubbish")


def test_policies_are_numbered_and_stay(ledger, store):
    """Each one put gets the next number; the newest is in force, older ones can be read."""
    setup = SetupStore(ledger)
    assert setup.load_setup().return_policy == ReturnPolicy()
    before = setup.setup_version()
    first = setup.put_return_policy(ReturnPolicy(window_days=60))
    rule = ReturnRule(category="food", returnable=False)
    second = setup.put_return_policy(ReturnPolicy(window_days=10, rules=(rule,)))
    assert (first.version, second.version) == (1, 2)
    assert setup.load_setup().return_policy == second
    assert setup.setup_version() > before
    old = msgspec.json.decode(store.return_policy(1), type=ReturnPolicy)
    assert old == first
    assert store.return_policy(3) is None
