"""Claims: a till's word on allocations, orders and returns, settled once."""

import base64
import itertools
import json

import msgspec
import pytest

from onhand.model.check import Refused, check_object
from onhand.model.times import parse_time
from onhand.orders import claims, upkeep
from onhand.orders.refusal import Refusal
from onhand.orders.views import order_view
from tests.orders_shop import DAY_US, Shop, units_of

SALE = {
    "type": "sale",
    "source": "till-7",
    "id": "4711",
    "occurred_at": "2026-06-01T10:00:00.123456+02:00",
    "location": "near",
    "sku": "a",
    "quantity": 2,
    "allocation_id": "order-1.a3",
    "customer_id": "kim",
    "basket_id": "b-9",
}


@pytest.fixture
def shop():
    """Put 9 of a and of b in the nearest store, and 5 in another."""
    return Shop({(sku, at): n for sku in "ab" for at, n in (("near", 9), ("mid", 5))})


@pytest.fixture
def pickup(shop):
    """Order 3 of a for collection at the nearest store; return the allocation's id."""
    return shop.of(shop.order(("a", 3), pickup="near")).allocations[0].id


def numbers(shop, allocation_id):
    """Return what app, till and both have handed over, and what is open."""
    found = next(each for each in shop.of(allocation_id).allocations if each.id == allocation_id)
    return found.told_by_app, found.told_by_till, found.handed, found.open


def moved(shop):
    """Sum what the movements on the ledger move, and what of it was reserved."""
    lines = [line for event in shop.ledger() for line in event["lines"]]
    reserved = sum(units for each in shop.book.handovers for _, _, units in each.reserved)
    return sum(line["quantity"] for line in lines), reserved


# ---- reading ----


def test_a_claim_is_read_from_what_its_publisher_wrote():
    """Its own fields are there, its order is named by its allocation."""
    claim = claims.parse(json.dumps(SALE).encode())
    assert (claim.source, claim.id, claim.type) == ("till-7", "4711", "sale")
    assert (claim.allocation_id, claim.about) == ("order-1.a3", "order-1")
    assert (claim.location, claim.lines) == ("near", (("a", 2),))
    assert claim.occurred_us == parse_time(SALE["occurred_at"])
    assert (claim.customer_id, claim.basket_id) == ("kim", "b-9")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (msgspec.msgpack.encode(SALE), ()),
        (json.dumps(SALE).encode(), (("ce_specversion", b"1.0"), ("ce_id", b"1"))),
        (
            json.dumps(
                {"specversion": "1.0", "id": "1", "source": "x", "type": "t", "data": SALE}
            ).encode(),
            (("content-type", b"application/cloudevents+json"),),
        ),
        (
            json.dumps(
                {
                    "specversion": "1.0",
                    "id": "1",
                    "source": "x",
                    "type": "t",
                    "data_base64": base64.b64encode(msgspec.msgpack.encode(SALE)).decode(),
                }
            ).encode(),
            (),
        ),
    ],
)
def test_a_claim_is_the_same_in_every_format(value, headers):
    """MessagePack and both modes of CloudEvents carry the same claim as JSON."""
    assert claims.parse(value, headers) == claims.parse(json.dumps(SALE).encode())


def test_a_return_names_its_order_or_its_return():
    """A return knows its order itself, so its id says nothing of it."""
    fields = {"type": "return", "disposition": "inspect", "allocation_id": None}
    by_order = claims.parse(json.dumps(SALE | fields | {"order_id": "o-1"}).encode())
    assert (by_order.about, by_order.disposition) == ("o-1", "inspect")
    by_return = claims.parse(json.dumps(SALE | fields | {"return_id": "return-2"}).encode())
    assert (by_return.about, by_return.return_id) == ("", "return-2")


def test_rubbish_is_refused():
    """What ingest would not have passed on is no claim."""
    for value in (b"", b"{}", b"[]", json.dumps(SALE | {"quantity": -1}).encode()):
        with pytest.raises(Refused):
            claims.parse(value)


# ---- sales ----


def test_a_till_hands_over_what_is_open(shop, pickup):
    """Whatever the step of its task: what has left has left."""
    assert shop.claim(lines=[("a", 2)], allocation_id=pickup) == "handed_over"
    assert numbers(shop, pickup) == (0, 2, 2, 1)
    assert moved(shop) == (2, 2)
    assert shop.available("a", "near") == 6
    shop.land()
    assert (shop.available("a", "near"), shop.stock.on_hand["a", "near"]) == (6, 7)
    shop.check()


@pytest.mark.parametrize("steps", [(), ("pick",), ("pick", "ready")])
def test_the_task_follows_the_till(shop, pickup, steps):
    """When all of it was handed over at the till, the task is done and the order fulfilled."""
    task_id = shop.task(pickup.rpartition(".")[0])
    shop.walk(task_id, *steps)
    shop.commit()
    shop.claim(lines=[("a", 3)], allocation_id=pickup)
    assert shop.of(pickup).task(task_id).status == "done"
    assert shop.of(pickup).status == "fulfilled"
    assert shop.told() == ["order.fulfilled", "allocation.handed_over"]
    assert shop.of(pickup).history[-1].by == "till"
    shop.check()


@pytest.mark.parametrize("order", [("app", "till"), ("till", "app")])
def test_the_same_hand_over_told_twice_counts_once(shop, pickup, order):
    """App first or till first: three units leave, and supply is told of three."""
    task_id = shop.task(pickup.rpartition(".")[0])
    shop.walk(task_id, "pick", "ready")
    for who in order:
        if who == "app":
            assert shop.step("collect", task_id)["status"] == "done"
        else:
            outcome = shop.claim(lines=[("a", 3)], allocation_id=pickup)
    assert outcome == ("told_before" if order[0] == "app" else "handed_over")
    assert numbers(shop, pickup) == (3, 3, 3, 0)
    assert moved(shop) == (3, 3)
    shop.check()


def test_the_app_catches_up_once(shop, pickup):
    """After the till, one collection is taken and moves nothing; another is one too many."""
    task_id = shop.task(pickup.rpartition(".")[0])
    shop.claim(lines=[("a", 3)], allocation_id=pickup)
    shop.step("collect", task_id)
    with pytest.raises(Refusal, match="is done; to collect it, it must be ready"):
        shop.step("collect", task_id)
    assert moved(shop) == (3, 3)


def test_units_beyond_the_allocation_are_a_plain_sale(shop, pickup):
    """The till sold five where three were promised: three leave the order, two the shelf."""
    outcome = shop.claim(lines=[("a", 5)], allocation_id=pickup)
    assert outcome == "partly_plain_sale"
    assert (numbers(shop, pickup), moved(shop)) == ((0, 3, 3, 0), (5, 3))
    assert shop.available("a", "near") == 6
    shop.land()
    assert shop.available("a", "near") == 4


def test_a_second_hand_over_of_the_same_units_is_a_plain_sale(shop, pickup):
    """The till tells another sale, so other units have left."""
    shop.claim(lines=[("a", 3)], allocation_id=pickup)
    assert shop.claim(lines=[("a", 1)], allocation_id=pickup) == "plain_sale"
    assert moved(shop) == (4, 3)


@pytest.mark.parametrize("how", ["cancelled", "expired", "unknown", "elsewhere", "other sku"])
def test_what_is_no_hand_over_is_a_plain_sale(shop, pickup, how):
    """The units have left all the same, where the till says."""
    order_id = pickup.rpartition(".")[0]
    fields = {"lines": [("a", 2)], "allocation_id": pickup}
    if how == "cancelled":
        shop.cancel(order_id)
    if how == "expired":
        shop.walk(shop.task(order_id), "pick", "ready")
        shop.now_us += 3 * DAY_US
        upkeep.due(shop.desk, shop.now_us)
    if how == "unknown":
        fields["allocation_id"] = "nobody.a1"
    if how == "elsewhere":
        fields["location"] = "mid"
    if how == "other sku":
        fields["lines"] = [("b", 2)]
    before = shop.book.orders[order_id]
    assert shop.claim(**fields) == "plain_sale"
    assert moved(shop) == (2, 0)
    assert shop.book.orders[order_id] is before
    (event,) = shop.ledger()
    assert event["location"] == fields.get("location", "near")
    shop.land()
    shop.check()


def test_other_skus_of_the_basket_are_a_plain_sale(shop, pickup):
    """One claim is one movement, of which the allocation's part was reserved."""
    outcome = shop.claim(lines=[("a", 3), ("b", 1)], allocation_id=pickup)
    assert outcome == "partly_plain_sale"
    (event,) = shop.ledger()
    assert event["lines"] == [{"sku": "a", "quantity": 3}, {"sku": "b", "quantity": 1}]
    assert moved(shop) == (4, 3)
    assert shop.of(pickup).status == "fulfilled"


def test_the_movement_says_when_it_happened_and_whose_it_was(shop, pickup):
    """It bears the till's time to the microsecond, so a count that saw it rules over it."""
    fields = {"customer_id": "kim", "basket_id": "b-9", "occurred_at": SALE["occurred_at"]}
    shop.claim(lines=[("a", 1)], allocation_id=pickup, **fields)
    (event,) = shop.ledger()
    checked = check_object(event, is_ledger=True)
    assert checked.occurred_us == parse_time(SALE["occurred_at"])
    assert (event["customer_id"], event["basket_id"]) == ("kim", "b-9")
    assert event["order_id"] == shop.of(pickup).id
    assert event["attributes"] == {"claim_source": "till", "claim_id": "c-1"}
    assert checked.unknown_fields == 0


def test_waiting_units_that_a_till_hands_over_are_served(shop):
    """They were not reserved, so nothing is unreserved, and nobody sends them again."""
    order_id = shop.order(("a", 9), pickup="near", allow_backorder=True)
    shop.stock.expect("a", "near", shop.now_us // DAY_US + 1, 5)
    waiting = shop.of(shop.order(("a", 3), pickup="near", allow_backorder=True)).allocations[0]
    assert waiting.stage == "backordered"
    assert shop.claim(lines=[("a", 3)], allocation_id=waiting.id) == "handed_over"
    assert moved(shop) == (3, 0)
    assert shop.of(waiting.id).status == "fulfilled"
    assert shop.stock.numbers() == ({("a", "near"): 9}, {})
    assert shop.of(order_id).status == "open"
    shop.check()


# ---- returns ----


@pytest.fixture
def sold(shop, pickup):
    """Hand the order's 3 units over; return the order's id."""
    shop.claim(lines=[("a", 3)], allocation_id=pickup)
    order_id = pickup.rpartition(".")[0]
    shop.land()
    return order_id


def test_what_comes_back_is_counted_and_on_the_shelf(shop, sold):
    """It comes back at any store, whichever handed it over."""
    shop.commit()
    assert shop.claim("return", lines=[("a", 2)], location="mid", order_id=sold) == "returned"
    assert shop.of(sold).allocations[0].returned == 2
    assert order_view(shop.of(sold))["lines"][0]["quantities"] == {"collected": 1, "returned": 2}
    assert shop.told() == ["refund.instructed", "return.received"]
    (event,) = shop.ledger()
    assert (event["type"], event["disposition"], event["order_id"]) == ("return", "sellable", sold)
    shop.land()
    assert shop.stock.on_hand["a", "mid"] == 7
    shop.check()


def test_no_more_comes_back_than_has_left(shop, sold):
    """What is beyond is on the shelf all the same, and is told of as unmatched."""
    assert shop.claim("return", lines=[("a", 2)], order_id=sold) == "returned"
    shop.commit()
    assert shop.claim("return", lines=[("a", 2)], order_id=sold) == "partly_unmatched"
    assert shop.told() == ["refund.instructed", "return.received", "arrival.unmatched"]
    told = json.loads(shop.book.changed().told[-1].value)["data"]
    assert (told["order_id"], told["lines"]) == (sold, [{"sku": "a", "quantity": 1}])
    assert shop.claim("return", lines=[("a", 1)], order_id=sold) == "unmatched"
    assert shop.of(sold).allocations[0].returned == 3
    shop.land()
    assert shop.stock.on_hand["a", "near"] == 9 - 3 + 5
    shop.check()


@pytest.mark.parametrize("fields", [{"order_id": "nobody"}, {"return_id": "nobody"}])
def test_a_return_that_nobody_knows_of_is_there_all_the_same(shop, fields):
    """It is restocked, and told of as unmatched."""
    shop.commit()
    assert shop.claim("return", lines=[("a", 2)], **fields) == "unmatched"
    assert (shop.told(), moved(shop)) == (["arrival.unmatched"], (2, 0))


def test_another_sku_does_not_come_back_on_an_order(shop, sold):
    """Only what left with the order comes back on it."""
    outcome = shop.claim("return", lines=[("a", 1), ("b", 1)], order_id=sold)
    assert outcome == "partly_unmatched"
    assert shop.of(sold).allocations[0].returned == 1


def test_damaged_units_do_not_go_back_on_the_shelf(shop, sold):
    """The disposition is the till's to say; the units count as returned."""
    fields = {"order_id": sold, "disposition": "damaged"}
    assert shop.claim("return", lines=[("a", 1)], **fields) == "returned"
    shop.land()
    assert shop.stock.on_hand["a", "near"] == 6
    assert shop.of(sold).allocations[0].returned == 1


def test_nothing_comes_back_before_it_has_left(shop, pickup):
    """Units on the shelf are no return of the order's."""
    order_id = pickup.rpartition(".")[0]
    assert shop.claim("return", lines=[("a", 1)], order_id=order_id) == "unmatched"


# ---- in any order, in any parts ----


def test_parts_told_by_app_and_till_end_in_the_same_numbers(shop, pickup):
    """The larger of what each has told has left, whoever was first."""
    task_id = shop.task(pickup.rpartition(".")[0])
    shop.walk(task_id, "pick", "ready")
    shop.commit()
    acts = {
        "app": lambda: shop.step("collect", task_id, lines=units_of(("1", 1))),
        "till": lambda: shop.claim(lines=[("a", 1)], allocation_id=pickup),
        "tills": lambda: shop.claim(lines=[("a", 2)], allocation_id=pickup),
    }
    ends = set()
    for names in itertools.permutations(["app", "app", "till", "tills"]):
        mark = shop.book.mark()
        for name in names:
            acts[name]()
        ends.add((numbers(shop, pickup), moved(shop), shop.of(pickup).tasks[0].status))
        shop.book.rollback(mark)
    assert ends == {((2, 3, 3, 0), (3, 3), "done")}
