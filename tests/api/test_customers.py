"""Customers over HTTP, on a real server with a real feed: history, wishes, being forgotten."""

import itertools
import sqlite3
from urllib.parse import quote

import msgspec
import psycopg
import pytest

from onhand.web.customers import CustomerDocument, WishlistDocument
from tests.deployments import wait_until
from tests.feeds import Feed
from tests.servers import event, pointers, problem
from tests.shops import SHIP, Shop, order_body

_numbers = itertools.count(1)


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def shop(request, tmp_path_factory):
    flags, url = (), None
    if request.param == "postgres":
        url = request.getfixturevalue("module_postgres_url")
        flags = ("--database", url)
    shop = Shop(tmp_path_factory.mktemp("customers"), *flags)
    shop.database_url = url
    shop.open().set_up()
    shop.feed = Feed(shop, *flags).start()
    yield shop
    assert shop.feed.close() == 0
    shop.close()


@pytest.fixture
def kim():
    """Name a customer of whom nobody has heard."""
    return f"kim/ünï {next(_numbers)}"


def path(customer, more=""):
    return f"/v1/customers/{quote(customer, safe='')}{more}"


def read(shop, customer, **parameters):
    answer = shop.get(path(customer), params=parameters)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=CustomerDocument)


def publish(shop, *events):
    answer = shop.post("/v1/events", list(events))
    assert answer.json()["rejected"] == [], answer.text
    return [each["id"] for each in events]


def wait_items(shop, customer, count):
    return wait_until(
        lambda: (found := read(shop, customer)) and len(found.items) >= count and found.items
    )


def stored(shop):
    """Gather every byte that the databases hold, as text."""
    if shop.database_url is not None:
        with psycopg.connect(shop.database_url) as connection:
            tables = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            ).fetchall()
            rows = [connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables]
        return b"".join(_bytes(value) for some in rows for row in some for value in row)
    found = b""
    for name in ("ledger", "customers"):
        with sqlite3.connect(shop.data / f"{name}.sqlite3") as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    found += b"".join(map(_bytes, row))
    return found


def counted(shop, sku):
    """Read the numbers of a cell without what another moment, or another day, says of them."""
    numbers = shop.numbers(sku)
    quantities = [day["quantity"] for day in numbers["available_to_order"]]
    return numbers | {"age_ms": 0, "available_to_order": quantities}


def _bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


def test_a_history_has_orders_and_purchases_newest_first(shop, kim):
    """One list of both, with what each says."""
    sku = shop.stock(10)
    customer = {"id": kim, "name": "Kim", "email": "kim@example.com"}
    order = shop.order((sku, 2), customer=customer, channel="store")
    sale = event(sku=sku, customer_id=kim, basket_id="b-1", occurred_at=order["created_at"])
    back = event(type="return", sku=sku, customer_id=kim, disposition="sellable", reference="r")
    publish(shop, sale, back | {"occurred_at": order["updated_at"]})
    items = wait_items(shop, kim, 3)
    assert items[0].kind == "order"
    assert items[0].id == order["id"]
    assert (items[0].status, items[0].channel) == ("open", "store")
    assert items[0].fulfilment.location == "north"
    assert [(line.sku, line.quantity, line.status) for line in items[0].lines] == [
        (sku, 2, "allocated")
    ]
    assert {each.kind for each in items[1:]} == {"purchase", "return"}
    purchase = next(each for each in items if each.kind == "purchase")
    assert (purchase.id, purchase.source, purchase.basket_id) == (sale["id"], "till-1", "b-1")
    assert (purchase.location, purchase.lines[0].sku) == ("north", sku)
    found = read(shop, kim)
    assert (found.name, found.email) == ("Kim", "kim@example.com")
    assert order["pickup_code"] not in shop.get(path(kim)).text


def test_pages_have_every_item_once(shop, kim):
    """In order of time, whatever the limit, while more is added in front."""
    sku = shop.stock(100)
    for _ in range(3):
        publish(shop, event(sku=sku, customer_id=kim), event(sku=sku, customer_id=kim))
        shop.order((sku, 1), customer={"id": kim})
    everything = [(each.kind, each.id) for each in wait_items(shop, kim, 9)]
    for limit in (1, 2, 4, 9):
        found, cursor = [], {}
        while True:
            page = read(shop, kim, limit=limit, **cursor)
            found += [(each.kind, each.id) for each in page.items]
            if page.next is None:
                break
            cursor = {"cursor": page.next}
        assert found == everything
    page = read(shop, kim, limit=4)
    shop.order((sku, 1), customer={"id": kim})
    rest = read(shop, kim, cursor=page.next)
    assert [(each.kind, each.id) for each in rest.items] == everything[4:]
    times = [each.at for each in read(shop, kim).items]
    assert times == sorted(times, reverse=True)


def test_nobody_has_an_empty_history(shop, kim):
    """Customers are not set up: any id may be asked about."""
    found = read(shop, kim)
    assert (found.id, found.items, found.wishlist, found.next) == (kim, [], [], None)


def test_a_hand_over_at_a_till_is_no_purchase_of_its_own(shop, kim):
    """The order is the item; a sale on an allocation that nobody knows is a purchase."""
    sku = shop.stock(10)
    order = shop.order((sku, 1), customer={"id": kim})
    allocation = order["lines"][0]["allocations"][0]["id"]
    publish(
        shop,
        event(sku=sku, customer_id=kim, allocation_id=allocation),
        event(sku=sku, customer_id=kim, allocation_id="web-unknown.a1", id="plain-" + sku),
    )
    items = wait_items(shop, kim, 2)
    assert {(each.kind, each.id) for each in items} == {
        ("order", order["id"]),
        ("purchase", "plain-" + sku),
    }


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"cursor": "nonsense"}, ["/cursor"]),
        ({"cursor": "gqFhAQ"}, ["/cursor"]),
        ({"limit": 0}, ["/limit"]),
        ({"limit": 1_001, "more": 1}, ["/limit", "/more"]),
    ],
)
def test_a_wrong_parameter_is_named(shop, kim, parameters, named):
    """400 with the parameters at fault."""
    assert pointers(shop.get(path(kim), params=parameters)) == named


def test_an_id_has_1_to_128_printable_characters(shop):
    """Others are no customer's."""
    for wrong in ("k" * 129, "k\u0007"):
        assert pointers(shop.get(path(wrong))) == ["/id"]
        assert pointers(shop.client.delete(path(wrong))) == ["/id"]


def test_a_wish_list_says_what_can_be_had(shop, kim):
    """Replaced whole, and shown with the history."""
    plenty, few = shop.stock(100, ["north"]), shop.stock(2, ["north"])
    body = [{"sku": plenty, "note": "in blue"}, {"sku": few}]
    answer = shop.put(path(kim, "/wishlist"), body)
    assert answer.status_code == 200, answer.text
    put = msgspec.json.decode(answer.content, type=WishlistDocument)
    assert [(each.sku, each.note, each.band, each.available) for each in put.wishlist] == [
        (plenty, "in blue", "in", 100),
        (few, None, "low", 2),
    ]
    assert read(shop, kim).wishlist == put.wishlist
    assert shop.put(path(kim, "/wishlist"), []).json() == {"id": kim, "wishlist": []}
    assert read(shop, kim).wishlist == []


def test_a_wish_for_what_nobody_knows_is_refused_by_name(shop, kim):
    """And nothing of the list is kept."""
    known = shop.stock()
    answer = shop.put(path(kim, "/wishlist"), [{"sku": known}, {"sku": "no such"}])
    body = problem(answer, 404, "unknown_sku")
    assert body["errors"][0]["pointer"] == "/1/sku"
    assert "no such" in body["detail"]
    assert read(shop, kim).wishlist == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, [""]),
        ([{"note": "x"}, {"sku": "apple", "size": 7}], ["/0/sku", "/1/size"]),
        ([{"sku": "apple"}, {"sku": "apple"}], ["/1/sku"]),
        ([{"sku": "apple", "note": ""}], ["/0/note"]),
        ([{"sku": "apple"}] * 201, [""]),
    ],
    ids=str,
)
def test_a_wrong_wish_list_names_its_fields(shop, kim, body, named):
    """400, each field with its rule."""
    assert pointers(shop.put(path(kim, "/wishlist"), body)) == named


def test_an_erased_customer_is_nowhere(shop, kim):
    """Not in orders, purchases, wishes, kept answers or events; what is counted stays."""
    sku = shop.stock(50)
    customer = {"id": kim, "name": f"Name of {kim}", "email": "kim@erased.example"}
    headers = {"Idempotency-Key": f"key-{sku}"}
    body = order_body((sku, 2), customer=customer, fulfilment=SHIP)
    order = shop.post("/v1/orders", body, headers=headers).json()
    closed = shop.order((sku, 1), customer=customer, fulfilment=SHIP)
    cancelled = shop.post(f"/v1/orders/{closed['id']}/cancel", headers={"Idempotency-Key": "c"})
    assert cancelled.json()["customer"]["id"] == kim
    publish(shop, *(event(sku=sku, customer_id=kim, basket_id=f"b-{sku}") for _ in range(3)))
    wait_items(shop, kim, 5)
    back = {"receipt": f"b-{sku}", "channel": "store", "location": "north", "customer_id": kim}
    back["lines"] = [{"sku": sku, "quantity": 1, "reason": "broken"}]
    returned = shop.post("/v1/returns", back, headers={"Idempotency-Key": "r"})
    assert (returned.status_code, returned.json()["customer_id"]) == (201, kim)
    assert shop.put(path(kim, "/wishlist"), [{"sku": sku}]).status_code == 200
    needles = [kim.encode(), b"kim@erased.example", msgspec.json.encode(kim)]
    assert any(needle in stored(shop) for needle in needles)
    before = counted(shop, sku)

    answer = shop.client.delete(path(kim))
    assert answer.status_code == 200, answer.text
    erased = answer.json()
    token = erased["id"]
    assert erased == {"id": token, "orders": 2, "open_orders": 1, "returns": 1, "purchases": 3}
    kept = stored(shop)
    assert not [needle for needle in needles if needle in kept]
    assert read(shop, kim).items == []
    assert len(read(shop, token).items) == 5
    assert read(shop, token).wishlist == []
    assert counted(shop, sku) == before
    read_back = shop.get(f"/v1/orders/{order['id']}").json()
    assert read_back["customer"] == {"id": token}
    assert read_back["lines"] == order["lines"]
    assert read_back["fulfilment"] == order["fulfilment"]
    again = shop.post("/v1/orders", body, headers=headers)
    assert again.status_code == 201
    assert again.json() == order | {"customer": {"id": token}}
    same = shop.post("/v1/returns", back, headers={"Idempotency-Key": "r"})
    assert same.json() == returned.json() | {"customer_id": token}
    cut = shop.get(f"/v1/orders/{closed['id']}").json()["fulfilment"]["destination"]
    assert cut == {"latitude": 52.5, "longitude": 13.4}


def test_erasing_again_changes_nothing_and_coming_back_is_new(shop, kim):
    """The id is nobody's now; whoever comes under it later begins anew."""
    sku = shop.stock(10)
    shop.order((sku, 1), customer={"id": kim})
    token = shop.client.delete(path(kim)).json()["id"]
    again = shop.client.delete(path(kim)).json()
    assert again == {"id": token, "orders": 0, "open_orders": 0, "returns": 0, "purchases": 0}
    new = shop.order((sku, 1), customer={"id": kim})
    assert [each.id for each in read(shop, kim).items] == [new["id"]]


def test_the_token_is_erased_once_its_orders_are_closed(shop, kim):
    """Then where they went to goes too; the token stays what it is."""
    sku = shop.stock(10)
    fulfilment = {"method": "ship", "destination": SHIP["destination"] | {"latitude": 52.5123}}
    order = shop.order((sku, 1), customer={"id": kim}, fulfilment=fulfilment)
    token = shop.client.delete(path(kim)).json()["id"]
    shop.post(f"/v1/orders/{order['id']}/cancel")
    found = shop.client.delete(path(token)).json()
    assert found == {"id": token, "orders": 1, "open_orders": 0, "returns": 0, "purchases": 0}
    document = shop.get(f"/v1/orders/{order['id']}").json()
    assert document["customer"] == {"id": token}
    assert document["fulfilment"]["destination"]["latitude"] == 52.5


def test_a_customer_of_many_orders_is_erased_in_steps(shop, kim):
    """All of them, however many."""
    sku = shop.stock(1_000)
    for _ in range(120):
        shop.order((sku, 1), customer={"id": kim})
    erased = shop.client.delete(path(kim)).json()
    assert erased["orders"] == erased["open_orders"] == 120
    assert read(shop, kim).items == []
    assert len(read(shop, erased["id"], limit=1_000).items) == 120


def test_a_receipt_of_the_till_is_known_to_returns(shop, kim):
    """What the feed has kept can come back by receipt, and no more than was sold."""
    sku = shop.stock(10)
    publish(shop, event(sku=sku, quantity=2, customer_id=kim, basket_id=f"basket-{sku}"))
    wait_items(shop, kim, 1)
    body = {"channel": "store", "location": "north", "receipt": f"basket-{sku}"}
    line = {"sku": sku, "reason": "too small"}
    too_many = shop.post("/v1/returns", body | {"lines": [line | {"quantity": 3}]})
    assert too_many.status_code == 409, too_many.text
    answer = shop.post("/v1/returns", body | {"lines": [line | {"quantity": 2}]})
    assert answer.status_code == 201, answer.text
    unknown = shop.post("/v1/returns", body | {"receipt": "x", "lines": [line | {"quantity": 1}]})
    problem(unknown, 404, "unknown_receipt")


def test_logs_name_nobody(shop, kim):
    """Neither the server's nor the feed's."""
    sku = shop.stock(5)
    shop.order((sku, 1), customer={"id": kim, "name": "Kim Unlogged"})
    publish(shop, event(sku=sku, customer_id=kim))
    wait_items(shop, kim, 2)
    shop.client.delete(path(kim))
    said = shop.said() + shop.feed.said() + shop.get("/metrics").text
    assert "Kim Unlogged" not in said
    assert kim not in said
    assert quote(kim, safe="") not in said
