"""Orders over HTTP: placed whole, read back, listed, cancelled, explained."""

from urllib.parse import quote

import msgspec
import pytest

from onhand.web.documents import ExplainedOrder, OrderDocument, OrderList, PromiseList
from tests.deployments import wait_until
from tests.servers import pointers, problem
from tests.shops import SHIP, Shop, order_body


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def shop(request, tmp_path_factory):
    flags = ()
    if request.param == "postgres":
        flags = ("--database", request.getfixturevalue("module_postgres_url"))
    shop = Shop(tmp_path_factory.mktemp("orders"), *flags)
    shop.open().set_up()
    yield shop
    shop.close()


def read(shop, order_id):
    return shop.get(f"/v1/orders/{quote(order_id, safe='')}")


def test_an_order_carries_allocations_and_tasks(shop):
    """201 with all that was decided; the next reads see it."""
    sku = shop.stock(10)
    customer = {"id": "c-1", "name": "Ada", "email": "ada@example.com"}
    answer = shop.post("/v1/orders", order_body((sku, 3), customer=customer, channel="store"))
    assert answer.status_code == 201
    order = msgspec.json.decode(answer.content, type=OrderDocument)
    assert (order.status, order.channel, order.customer.name) == ("open", "store", "Ada")
    assert (order.lines[0].status, order.lines[0].quantities) == ("allocated", {"allocated": 3})
    assert [each.location for each in order.lines[0].allocations] == ["north"]
    assert order.lines[0].allocations[0].ready_by
    assert len(order.tasks) == 1
    assert len(order.pickup_code) == 6
    assert read(shop, order.id).json() == answer.json()
    assert shop.numbers(sku)["reserved"] == 3


def test_a_shipment_is_split_where_no_place_has_all(shop):
    """Two lines that no single place has come in two packages, each with its task."""
    at_north, at_south = shop.stock(5, ["north"]), shop.stock(5, ["south"])
    order = shop.order((at_north, 1), (at_south, 2), fulfilment=SHIP)
    places = [line["allocations"][0]["location"] for line in order["lines"]]
    assert places == ["north", "south"]
    assert len(order["tasks"]) == 2
    assert "pickup_code" not in order
    assert all(line["allocations"][0]["deliver_by"] for line in order["lines"])


def test_without_split_one_place_has_all_or_nobody(shop):
    """The same order is refused when it may not be split, and nothing is held."""
    at_north, at_south = shop.stock(5, ["north"]), shop.stock(5, ["south"])
    body = order_body((at_north, 1), (at_south, 2), fulfilment=SHIP)
    refused = shop.post("/v1/orders", body | {"policy": {"allow_split": False}})
    assert {line["sku"] for line in problem(refused, 409, "insufficient_stock")["lines"]}
    assert shop.available(at_north) == shop.available(at_south, "south") == 5


def test_too_little_stock_is_told_line_by_line(shop):
    """What is wanted and what is available, of the lines that lack stock alone."""
    plenty, few = shop.stock(10), shop.stock(2)
    answer = shop.post("/v1/orders", order_body((plenty, 1), (few, 3)))
    body = problem(answer, 409, "insufficient_stock")
    assert [(each["sku"], each["wanted"], each["available"]) for each in body["lines"]] == [
        (few, 3, 2)
    ]
    assert shop.available(plenty) == 10


def test_partial_orders_take_what_there_is(shop):
    """The rest is cancelled, and the line says so."""
    sku = shop.stock(2, ["north"])
    order = shop.order((sku, 3), policy={"allow_partial": True})
    assert order["lines"][0]["quantities"] == {"allocated": 2, "cancelled": 1}


def test_a_hold_becomes_an_order(shop):
    """The order takes a part; the rest is free at once, and the hold is closed."""
    sku = shop.stock(10)
    hold = shop.hold(sku, 5)
    order = shop.order((sku, 2), hold_id=hold["id"])
    assert shop.available(sku) == 8
    closed = shop.get(f"/v1/holds/{hold['id']}").json()
    assert (closed["status"], closed["order_id"]) == ("ordered", order["id"])
    again = shop.post("/v1/orders", order_body((sku, 1), hold_id=hold["id"]))
    problem(again, 409, "hold_closed")
    problem(shop.client.delete(f"/v1/holds/{hold['id']}"), 409, "hold_closed")


def test_an_order_cannot_take_more_than_its_hold(shop):
    """Nor of another SKU; the hold stays."""
    sku, other = shop.stock(10), shop.stock(10)
    hold = shop.hold(sku, 2)
    for lines in ([(sku, 3)], [(other, 1)]):
        answer = shop.post("/v1/orders", order_body(*lines, hold_id=hold["id"]))
        problem(answer, 409, "hold_mismatch")
    assert shop.get(f"/v1/holds/{hold['id']}").json()["status"] == "active"


def test_an_order_on_an_expired_hold_is_refused(shop):
    """409, also before anything has swept it."""
    sku = shop.stock(10)
    hold = shop.hold(sku, 2, ttl_s=1)
    wait_until(lambda: shop.get(f"/v1/holds/{hold['id']}").json()["status"] == "expired")
    problem(shop.post("/v1/orders", order_body((sku, 1), hold_id=hold["id"])), 409, "hold_expired")


@pytest.mark.parametrize(
    "order_id", ["web-17", "2026/07/17", "a b%2Fc?d#e", "ünï/cödé", "o" * 128, "/", "cancel"]
)
def test_an_order_has_the_id_that_its_caller_gave(shop, order_id):
    """Whatever is printable: it is read, cancelled and refused a second time by it."""
    order_id = f"{order_id[:100]}{shop.stock()[4:]}" if order_id != "o" * 128 else order_id
    sku = shop.stock(10)
    placed = shop.order((sku, 1), id=order_id)
    assert placed["id"] == order_id
    assert read(shop, order_id).json() == placed
    problem(shop.post("/v1/orders", order_body((sku, 1), id=order_id)), 409, "order_exists")
    task = quote(placed["tasks"][0], safe="")
    assert shop.step(task, "pick").json()["order_id"] == order_id
    path = f"/v1/orders/{quote(order_id, safe='')}"
    cancelled = shop.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert shop.get(f"{path}/explain").json()["order"] == cancelled.json()


def test_units_of_lines_are_cancelled(shop):
    """Named ones, then the rest; what is cancelled twice is refused."""
    sku = shop.stock(10)
    order = shop.order((sku, 5))
    line = order["lines"][0]["id"]
    path = f"/v1/orders/{order['id']}/cancel"
    some = shop.post(path, {"lines": [{"id": line, "quantity": 2}]})
    assert some.json()["lines"][0]["quantities"] == {"allocated": 3, "cancelled": 2}
    assert shop.available(sku) == 7
    over = shop.post(path, {"lines": [{"id": line, "quantity": 4}]})
    problem(over, 409, "quantity_exceeded")
    other = shop.post(path, {"lines": [{"id": "no-line", "quantity": 1}]})
    problem(other, 404, "unknown_line")
    assert shop.post(path).json()["status"] == "cancelled"
    assert shop.available(sku) == 10


def test_what_has_left_cannot_be_cancelled(shop):
    """409, and the order stays fulfilled."""
    order = shop.order((shop.stock(10), 1))
    collect = {"pickup_code": order["pickup_code"]}
    shop.steps(order["tasks"][0], "pick", "ready", "collect", collect=collect)
    answer = shop.post(f"/v1/orders/{order['id']}/cancel")
    problem(answer, 409, "wrong_state")
    assert read(shop, order["id"]).json()["status"] == "fulfilled"


def test_orders_are_listed_newest_first(shop):
    """By customer and by status, page by page, each once."""
    sku = shop.stock(100)
    placed = [shop.order((sku, 1), customer={"id": "lister"})["id"] for _ in range(5)]
    shop.post(f"/v1/orders/{placed[0]}/cancel")
    found, cursor = [], None
    while True:
        query = {"customer": "lister", "limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = shop.get("/v1/orders", params=query)
        page = msgspec.json.decode(answer.content, type=OrderList)
        found += [order.id for order in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert found == placed[::-1]
    query = {"customer": "lister", "status": "cancelled"}
    listed = shop.get("/v1/orders", params=query).json()
    assert [order["id"] for order in listed["items"]] == placed[:1]
    assert listed["next"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "lost"}, ["/status"]),
        ({"cursor": "rubbish"}, ["/cursor"]),
        ({"limit": 0}, ["/limit"]),
        ({"customer": "a\0"}, ["/customer"]),
        ({"customer": ""}, ["/customer"]),
        ({"colour": "red"}, ["/colour"]),
    ],
)
def test_a_wrong_question_about_orders_is_refused(shop, query, expected):
    """Every parameter at fault is named."""
    assert pointers(shop.get("/v1/orders", params=query)) == expected


@pytest.mark.parametrize(
    ("fields", "status", "code", "pointer"),
    [
        ({"lines": [{"sku": "never-seen", "quantity": 1}]}, 404, "unknown_sku", "/lines/0/sku"),
        (
            {"fulfilment": {"method": "pickup", "location": "never-seen"}},
            404,
            "unknown_location",
            "/fulfilment/location",
        ),
        (
            {"fulfilment": {"method": "pickup", "location": "closed"}},
            409,
            "location_disabled",
            "/fulfilment/location",
        ),
        (
            {"fulfilment": {"method": "pickup", "location": "no-pickup"}},
            409,
            "pickup_unavailable",
            "/fulfilment/location",
        ),
        (
            {"fulfilment": {"method": "ship", "destination": {"postal_code": "no-such"}}},
            404,
            "unknown_postal_code",
            "/fulfilment/destination/postal_code",
        ),
        (
            {"fulfilment": {"method": "ship", "destination": {}}},
            400,
            "invalid_request",
            "/fulfilment/destination/postal_code",
        ),
        (
            {"fulfilment": {"method": "ship", "destination": {"latitude": 91, "longitude": 0}}},
            400,
            "invalid_request",
            "/fulfilment/destination/latitude",
        ),
        ({"fulfilment": {"method": "drone"}}, 400, "invalid_request", "/fulfilment/method"),
        ({"hold_id": "nobody"}, 404, "unknown_hold", "/hold_id"),
        ({"id": ""}, 400, "invalid_request", "/id"),
        ({"id": "x" * 129}, 400, "invalid_request", "/id"),
        ({"id": "a\n"}, 400, "invalid_request", "/id"),
        ({"customer": {"id": "a\0"}}, 400, "invalid_request", "/customer/id"),
        ({"customer": {}}, 400, "invalid_request", "/customer/id"),
        ({"policy": {"allow_all": True}}, 400, "invalid_request", "/policy/allow_all"),
        ({"channel": "fax"}, 400, "invalid_request", "/channel"),
        ({"lines": []}, 400, "invalid_request", "/lines"),
        ({"coupon": "x"}, 400, "invalid_request", "/coupon"),
    ],
)
def test_a_wrong_order_is_named(shop, fields, status, code, pointer):
    """The problem points at the field, and nothing is reserved."""
    sku = shop.stock(10)
    answer = shop.post("/v1/orders", order_body((sku, 1)) | fields)
    assert pointers(answer, status, code) == [pointer]
    assert shop.numbers(sku)["reserved"] == 0


@pytest.mark.parametrize("order_id", ["nobody", "a/b", "%00", "x" * 200])
def test_an_unknown_order_is_no_order(shop, order_id):
    """Whatever is asked of it."""
    path = f"/v1/orders/{quote(order_id, safe='')}"
    problem(shop.get(path), 404, "unknown_order")
    problem(shop.get(f"{path}/explain"), 404, "unknown_order")
    problem(shop.post(f"{path}/cancel"), 404, "unknown_order")


def test_an_order_is_explained(shop):
    """Why each location, by which rules, from which hold, and what it has moved."""
    sku = shop.stock(10)
    hold = shop.hold(sku, 2)
    order = shop.order((sku, 2), hold_id=hold["id"])
    collect = {"pickup_code": order["pickup_code"]}
    shop.steps(order["tasks"][0], "pick", "ready", "collect", collect=collect)
    answer = shop.get(f"/v1/orders/{order['id']}/explain")
    explained = msgspec.json.decode(answer.content, type=ExplainedOrder)
    assert explained.order.status == "fulfilled"
    assert explained.hold.id == hold["id"]
    assert explained.allocations[0].why
    assert explained.rules["resource_max"] == 3
    assert [each.type for each in explained.ledger] == ["sale"]
    assert explained.ledger[0].sequence > 0


def test_what_is_reserved_is_explained_page_by_page(shop):
    """Holds and allocations behind the number, newest first, each once; they add up to it."""
    sku = shop.stock(100)
    held = [shop.hold(sku, 1)["id"] for _ in range(3)]
    order = shop.order((sku, 2))
    shop.order((sku, 5), fulfilment={"method": "pickup", "location": "south"})
    path, query = f"/v1/availability/{sku}/explain", {"location": "north", "limit": 2}
    found, cursor = [], None
    while True:
        more = {"promises_cursor": cursor} if cursor else {}
        answer = shop.get(path, params=query | more).json()
        found += answer["promises"]["items"]
        cursor = answer["promises"]["next"]
        if cursor is None:
            break
    allocation = order["lines"][0]["allocations"][0]["id"]
    assert [each["id"] for each in found] == [allocation, *held[::-1]]
    assert [(each["kind"], each["order_id"]) for each in found[:2]] == [
        ("allocation", order["id"]),
        ("hold", None),
    ]
    assert sum(each["quantity"] for each in found) == answer["terms"]["reserved"] == 5
    wrong = shop.get(path, params=query | {"promises_cursor": "rubbish"})
    assert pointers(wrong) == ["/promises_cursor"]


def test_a_promise_ranks_ways_and_holds_nothing(shop):
    """The best is what an order then gets."""
    sku = shop.stock(10, ["north", "south"])
    body = order_body((sku, 2), fulfilment=SHIP)
    answer = shop.post("/v1/promises", body | {"limit": 2})
    assert answer.status_code == 200
    options = msgspec.json.decode(answer.content, type=PromiseList).options
    assert [option.lines[0].location for option in options] == ["north", "south"]
    assert options[0].packages == 1
    assert options[0].deliver_by
    assert options[0].score >= options[1].score
    assert shop.numbers(sku)["reserved"] == 0
    assert (
        shop.order((sku, 2), fulfilment=SHIP)["lines"][0]["allocations"][0]["location"] == "north"
    )


def test_nothing_to_promise_is_no_option(shop):
    """The answer says what is wanted and available of each line that lacks stock."""
    sku = shop.stock(1, ["north"])
    body = order_body((sku, 2))
    promised = msgspec.json.decode(shop.post("/v1/promises", body).content, type=PromiseList)
    assert promised.options == []
    assert msgspec.to_builtins(promised.lines) == [
        {"line": 0, "sku": sku, "wanted": 2, "available": 1}
    ]
    part = shop.post("/v1/promises", body | {"policy": {"allow_partial": True}})
    (option,) = msgspec.json.decode(part.content, type=PromiseList).options
    assert msgspec.to_builtins(option.short) == [{"sku": sku, "quantity": 1}]
    unknown = order_body(("never-seen", 1))
    assert pointers(shop.post("/v1/promises", unknown), 404, "unknown_sku") == ["/lines/0/sku"]
    assert pointers(shop.post("/v1/promises", body | {"limit": 0})) == ["/limit"]


def test_storefront_workers_know_no_orders(shop):
    """They serve reads alone."""
    beside = Shop.__new__(Shop)
    Shop.__base__.__init__(beside, shop.data.parent, command="storefront")
    try:
        beside.start()
        for path in ("/v1/orders", "/v1/holds", "/v1/promises"):
            problem(beside.post(path, {}), 404, "not_found")
        problem(beside.get("/v1/orders"), 404, "not_found")
    finally:
        beside.close()
