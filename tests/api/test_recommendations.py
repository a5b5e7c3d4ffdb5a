"""Recommendations and the endless aisle over HTTP, on a real server with tables and a snapshot."""

from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import msgspec
import pytest

from onhand.recommendations.snapshot import NAME
from onhand.web.aisle_documents import Aisle
from onhand.web.recommendations import Recommendations, Together
from tests.baskets import publish
from tests.deployments import wait_until
from tests.servers import pointers, problem
from tests.shops import Shop

BASKETS = [
    *[["tea", "milk", "honey"]] * 6,
    *[["tea", "lemon", "scone"]] * 4,
    *[["mate", "milk", "honey"]] * 5,
    *[["bread", "milk"]] * 20,
    ["a/b", "tea"],
]
STOCK = {
    ("tea", "south"): 9,
    ("tea", "near"): 4,
    ("milk", "north"): 30,
    ("honey", "south"): 5,
    ("bread", "north"): 7,
    ("mate", "north"): 3,
    ("rooibos", "south"): 8,
    ("lemon", "no-pickup"): 8,
    ("a/b", "north"): 1,
    ("slow", "closed"): 1,
}
DUE = (datetime.now(UTC) + timedelta(days=2)).date()
HOME = {"latitude": 52.5, "longitude": 13.4}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("recommendations"), auth=False)
    for (sku, location), units in STOCK.items():
        shop.kit.add(sku, location, on_hand=units)
    shop.kit.add_incoming("scone", "north", (DUE - date(1970, 1, 1)).days, 5)
    shop.open().set_up()
    near = {"name": "Near", "type": "store", "latitude": 52.51, "longitude": 13.41}
    near["timezone"] = morning_zone()
    assert shop.put("/v1/locations/near", near).is_success
    skus = [
        {"sku": "tea", "category": "drinks", "name": "Green tea"},
        *({"sku": sku, "category": "drinks"} for sku in ("mate", "rooibos", "lemon", "cola")),
        {"sku": "milk", "category": "dairy", "name": "Milk"},
    ]
    assert shop.put("/v1/skus", skus).is_success
    publish(shop.tables.directory.path, BASKETS)
    yield shop
    shop.close()


def morning_zone():
    """Name a time zone in which the day has hours left, whenever the test runs."""
    ahead = 8 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead if ahead >= -12 else -ahead - 24:+d}"


def together(shop, sku, **parameters):
    answer = shop.get(f"/v1/availability/{quote(sku, safe='')}/together", params=parameters)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Together)


def offered(shop, customer, **parameters):
    answer = shop.get(f"/v1/customers/{customer}/recommendations", params=parameters)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Recommendations)


def aisle(shop, sku, **parameters):
    answer = shop.get(f"/v1/aisle/{quote(sku, safe='')}", params={"location": "north"} | parameters)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Aisle)


def place(shop, order):
    """Place the order that a way carries, just as it stands."""
    answer = shop.post("/v1/orders", msgspec.to_builtins(order))
    assert answer.status_code == 201, answer.text
    placed = answer.json()
    assert shop.post(f"/v1/orders/{placed['id']}/cancel").status_code == 200
    return placed


def test_bought_together_and_sold_now(shop):
    """Here or by shipping; lemon is nowhere that ships or hands over here, scones are nowhere."""
    found = together(shop, "tea", location="north")
    assert [each.sku for each in found.items] == ["honey", "milk", "a/b"]
    honey, milk, _ = found.items
    assert (milk.available, milk.name, milk.category) == (30, "Milk", "dairy")
    assert (honey.available, honey.shippable) == (0, 5)
    assert [reason.sku for reason in honey.because] == ["tea"]
    assert honey.because[0].together == pytest.approx(6, abs=0.1)
    assert found.learnt_to == "2025-10-09T08:53:55.000Z"


def test_bought_together_limits_and_paths(shop):
    """A SKU with a slash, a limit, and without a location only what ships."""
    assert [each.sku for each in together(shop, "a/b", location="south").items] == ["tea"]
    assert len(together(shop, "tea", location="north", limit=1).items) == 1
    assert {each.available for each in together(shop, "tea").items} == {0}


def test_what_is_bought_most_is_offered_to_a_stranger(shop):
    """The known goods come by sales, and only those that can be sold."""
    found = offered(shop, "stranger", location="north")
    assert found.based_on == 0
    assert [each.sku for each in found.items][:3] == ["milk", "bread", "tea"]
    assert {each.kind for each in found.items} == {"popular"}
    assert "scone" not in [each.sku for each in found.items]


def test_what_is_in_hand_decides_what_is_offered(shop):
    """And is not offered itself."""
    found = offered(shop, "stranger", location="north", basket="tea,mate", limit=3)
    assert found.based_on == 2
    assert [each.sku for each in found.items] == ["honey", "milk", "a/b"]
    assert found.items[0].kind == "bought_together"


def test_orders_of_a_customer_decide_what_is_offered(shop):
    """What was ordered lately is known at once, and is not offered again."""
    body = {
        "lines": [{"sku": "mate", "quantity": 1}],
        "fulfilment": {"method": "pickup", "location": "north"},
        "customer": {"id": "c-1"},
    }
    assert shop.post("/v1/orders", body).status_code == 201
    found = offered(shop, "c-1", location="north", limit=2)
    assert found.based_on == 1
    assert [each.sku for each in found.items] == ["honey", "milk"]
    assert [each.because[0].sku for each in found.items] == ["mate", "mate"]


def test_every_way_from_an_empty_shelf(shop):
    """Near by today, sent home, and what is like it; each order is taken as it stands."""
    found = aisle(shop, "tea", quantity=2, customer="c-2", **HOME)
    assert (found.here.available, found.here.enough, found.here.order) == (0, False, None)
    (near,) = found.nearby
    assert (near.location, near.available) == ("near", 4)
    assert near.distance_km < 2
    assert near.ready_by
    placed = place(shop, near.order)
    assert placed["channel"] == "store"
    assert placed["customer"]["id"] == "c-2"
    assert placed["lines"][0]["allocations"][0]["location"] == "near"
    assert found.ship.available == 13
    assert found.ship.options[0].locations == ["near"]
    assert found.ship.options[0].deliver_by
    placed = place(shop, found.ship.options[0].order)
    assert placed["fulfilment"]["method"] == "ship"
    assert placed["lines"][0]["quantity"] == 2
    assert [each.sku for each in found.substitutes] == ["mate", "rooibos"]
    mate, rooibos = found.substitutes
    assert mate.similarity > 0.5
    assert mate.order.fulfilment.location == "north"
    assert place(shop, mate.order)["lines"][0]["sku"] == "mate"
    assert (rooibos.similarity, rooibos.shippable) == (0, 8)
    assert place(shop, rooibos.order)["fulfilment"]["method"] == "ship"
    assert found.incoming is None
    assert found.name == "Green tea"


def test_what_is_here_is_collected_here(shop):
    """Enough of it: an order for this store, and nothing to wait for."""
    found = aisle(shop, "milk", quantity=3)
    assert (found.here.available, found.here.enough) == (30, True)
    assert place(shop, found.here.order)["lines"][0]["allocations"][0]["location"] == "north"
    assert found.incoming is None
    assert aisle(shop, "milk", quantity=31).here.order is None


def test_what_is_on_its_way_can_be_waited_for(shop):
    """The date is that of the delivery, and the order may wait for it."""
    found = aisle(shop, "scone", quantity=2)
    assert found.incoming.due == DUE.isoformat()
    assert found.incoming.ready_by > DUE.isoformat()
    assert [each.quantity for each in found.available_to_order] == [0, 5]
    assert place(shop, found.incoming.order)["lines"][0]["status"] == "backordered"
    assert aisle(shop, "scone", quantity=6).incoming is None


def test_without_an_address_nothing_is_sent(shop):
    """It says so; stores near by are those near this store, and substitutes wait for an address."""
    found = aisle(shop, "tea")
    assert (found.ship.code, found.ship.options, found.ship.available) == ("address_needed", [], 13)
    assert [each.location for each in found.nearby] == ["near"]
    assert [each.order is None for each in found.substitutes] == [False, True]


def test_what_nobody_has_says_so(shop):
    """No option, and the code of the problem that the order would be."""
    found = aisle(shop, "tea", quantity=14, **HOME)
    assert (found.ship.code, found.ship.options) == ("insufficient_stock", [])
    assert found.nearby == []
    assert aisle(shop, "tea", quantity=5, radius_km=1).nearby == []


def test_what_cannot_be_asked(shop):
    """Every wrong parameter is named; unknown things are problems of their own."""
    look, offer = "/v1/aisle/tea", "/v1/customers/c-1/recommendations"
    assert pointers(shop.get(look)) == ["/location"]
    north = {"location": "north"}
    assert pointers(shop.get(look, params=north | {"quantity": 0})) == ["/quantity"]
    assert pointers(shop.get(look, params=north | {"latitude": 1})) == ["/longitude"]
    assert pointers(shop.get(look, params=north | {"country": "US"})) == ["/postal_code"]
    assert pointers(shop.get(look, params=north | {"customer": "\x07"})) == ["/customer"]
    problem(shop.get("/v1/aisle/nobody", params=north), 404, "unknown_sku")
    problem(shop.get(look, params={"location": "nowhere"}), 404, "unknown_location")
    code = north | {"postal_code": "XX-0", "country": "DE"}
    problem(shop.get(look, params=code), 404, "unknown_postal_code")
    assert pointers(shop.get(offer, params={"limit": 51})) == ["/limit"]
    problem(shop.get(offer, params={"location": "nowhere"}), 404, "unknown_location")
    problem(shop.get("/v1/availability/nobody/together"), 404, "unknown_sku")
    assert pointers(shop.get("/v1/availability/tea/together", params={"group": "all"})) == [
        "/group"
    ]


def test_a_new_snapshot_is_read_at_once(shop):
    """No restart, and no call that fails in between."""
    path = shop.tables.directory.path
    assert together(shop, "bread", location="north").items[0].sku == "milk"
    publish(path, [["bread", "mate"]] * 3)
    wait_until(lambda: together(shop, "bread", location="north").items[0].sku == "mate")
    publish(path, BASKETS)
    assert (path / NAME).exists()


def test_reads_are_counted(shop):
    """By the route's template."""
    together(shop, "tea")
    aisle(shop, "tea")
    offered(shop, "c-1")
    for route in ("/v1/availability/{sku}/together", "/v1/aisle/{sku}"):
        assert shop.counted(f'onhand_read_seconds_count{{route="{route}"}}') >= 1
