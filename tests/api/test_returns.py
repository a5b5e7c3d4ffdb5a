"""Returns over HTTP: bought in one city, returned in another, exchanged on the spot."""

import msgspec
import pytest

from onhand.log.embedded import EmbeddedLog
from onhand.log.open import LOG_FILE
from onhand.log.topics import LEDGER, ORDER_EVENTS
from onhand.order_events import CHANGES, OrderEvent, event_types
from onhand.web.return_documents import ExplainedReturn, ReturnDocument, ReturnList
from tests.deployments import HELD_UP, Deployment, wait_until
from tests.servers import event, pointers, problem
from tests.shops import SHIP, Shop

STRAY = {"sku": "pear", "quantity": 1}


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def shop(request, tmp_path_factory):
    flags = ()
    if request.param == "postgres":
        flags = ("--database", request.getfixturevalue("module_postgres_url"))
    shop = Shop(tmp_path_factory.mktemp("returns"), *flags)
    shop.open().set_up()
    yield shop
    shop.close()


def sold(shop, *lines, **fields):
    """Sell (sku, quantity) pairs and hand them over at north; answer the order's id."""
    order = shop.order(*lines, **fields)
    code = {"pickup_code": order["pickup_code"]}
    shop.steps(order["tasks"][0], "pick", "ready", "collect", collect=code)
    return order["id"]


def body(order_id, *lines, channel="store", **fields):
    """Announce (line, quantity) pairs of an order."""
    return {
        "order_id": order_id,
        "lines": [{"line": line, "quantity": n, "reason": "too small"} for line, n in lines],
        "channel": channel,
        **fields,
    }


def announce(shop, order_id, *lines, **fields):
    answer = shop.post("/v1/returns", body(order_id, *lines, **fields))
    assert answer.status_code == 201, answer.text
    msgspec.json.decode(answer.content, type=ReturnDocument)
    return answer.json()


def receive(shop, return_id, *lines, at="south", disposition="sellable"):
    document = {
        "location": at,
        "lines": [{"line": ln, "quantity": n, "disposition": disposition} for ln, n in lines],
    }
    return shop.post(f"/v1/returns/{return_id}/receive", document)


def ledger(shop):
    """Read what is on stock.ledger."""
    log = EmbeddedLog(shop.data / LOG_FILE)
    try:
        return [
            msgspec.json.decode(record.value)
            for partition in log.partitions([LEDGER])
            for record in log.read(partition, 0, 10_000)
        ]
    finally:
        log.close()


def test_bought_in_one_city_and_returned_in_another(shop):
    """Announced, taken in, and read again; the order knows of it, and one movement restocks."""
    order_id = sold(shop, (shop.stock(10), 3))
    announced = announce(shop, order_id, ("1", 2))
    assert announced["status"] == "authorised"
    answer = receive(shop, announced["id"], ("1", 1))
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "partially_received"
    done = receive(shop, announced["id"], ("1", 1), disposition="inspect").json()
    assert (done["status"], done["lines"][0]["quantities"]) == (
        "received",
        {"sellable": 1, "held": 1},
    )
    assert shop.get(f"/v1/returns/{announced['id']}").json() == done
    order = shop.get(f"/v1/orders/{order_id}").json()
    assert order["returns"] == [announced["id"]]
    assert order["lines"][0]["quantities"] == {"collected": 1, "returned": 2}
    wait_until(lambda: sum(each.get("order_id") == order_id for each in ledger(shop)) == 3)
    back = [each for each in ledger(shop) if each["type"] == "return"][-2:]
    assert [(each["location"], each["disposition"]) for each in back] == [
        ("south", "sellable"),
        ("south", "inspect"),
    ]


def test_held_units_are_inspected(shop):
    """What is held is looked at where it lies, and the return is closed with the last."""
    return_id = announce(shop, sold(shop, (shop.stock(5), 2)), ("1", 2))["id"]
    receive(shop, return_id, ("1", 2), disposition="inspect")
    looked_at = {
        "location": "south",
        "lines": [
            {"line": "1", "quantity": 1, "disposition": "sellable"},
            {"line": "1", "quantity": 1, "disposition": "damaged"},
        ],
    }
    answer = shop.post(f"/v1/returns/{return_id}/inspect", looked_at)
    assert answer.json()["status"] == "closed", answer.text
    again = shop.post(f"/v1/returns/{return_id}/inspect", looked_at)
    assert pointers(again, 409, "quantity_exceeded") == ["/lines/0/quantity"]


def test_an_exchange_is_allocated_before_the_goods_are_back(shop):
    """The replacement is an order of its own, linked both ways, here on the spot."""
    sku, other = shop.stock(5), shop.stock(5)
    order_id = sold(shop, (sku, 1))
    exchange = [{"sku": other, "quantity": 1, "unit_price": 12.5}]
    made = announce(shop, order_id, ("1", 1), location="south", exchange=exchange)
    replacement = shop.get(f"/v1/orders/{made['exchange']['order_id']}").json()
    assert replacement["exchange_of"] == made["id"]
    assert replacement["fulfilment"] == {"method": "pickup", "location": "south"}
    assert replacement["lines"][0]["status"] == "allocated"
    assert shop.available(other, "south") == 4
    cancelled = shop.post(f"/v1/returns/{made['id']}/cancel").json()
    assert (cancelled["status"], cancelled["exchange"]["cancelled"]) == ("cancelled", True)
    assert shop.available(other, "south") == 5


def test_an_exchange_for_what_is_gone_refuses_all(shop):
    """Nothing is announced, nothing held; the field is the exchange's."""
    gone = shop.stock(1, ["south"])
    order_id = sold(shop, (shop.stock(5), 1))
    shop.order((gone, 1), fulfilment=SHIP)
    exchange = [{"sku": gone, "quantity": 1}]
    answer = shop.post("/v1/returns", body(order_id, ("1", 1), location="south", exchange=exchange))
    assert problem(answer, 409, "insufficient_stock")["lines"][0]["available"] == 0
    assert "returns" not in shop.get(f"/v1/orders/{order_id}").json()
    unknown = body(order_id, ("1", 1), exchange=[{"sku": "moon", "quantity": 1}], location="south")
    assert pointers(shop.post("/v1/returns", unknown), 404, "unknown_sku") == ["/exchange/0/sku"]


def test_returns_are_listed_by_order(shop):
    """The newest first; other orders' are not among them."""
    order_id = sold(shop, (shop.stock(5), 3))
    ids = [announce(shop, order_id, ("1", 1))["id"] for _ in range(2)]
    announce(shop, sold(shop, (shop.stock(5), 1)), ("1", 1))
    answer = shop.get("/v1/returns", params={"order_id": order_id})
    page = msgspec.json.decode(answer.content, type=ReturnList)
    assert ([each.id for each in page.items], page.next) == (ids[::-1], None)
    first = shop.get("/v1/returns", params={"order_id": order_id, "limit": 1}).json()
    rest = shop.get("/v1/returns", params={"order_id": order_id, "cursor": first["next"]}).json()
    assert [each["id"] for each in first["items"] + rest["items"]] == ids[::-1]
    assert shop.get("/v1/returns", params={"status": "closed", "order_id": order_id}).json() == {
        "items": [],
        "next": None,
    }
    problem(shop.get("/v1/returns", params={"status": "lost"}), 400, "invalid_request")


def test_a_slip_is_printed_while_units_are_awaited(shop):
    """It says what to send where; what customers wrote is no markup."""
    sku = shop.stock(5)
    shop.put("/v1/skus", [{"sku": sku, "name": "Socks & <shoes>"}])
    order_id = sold(shop, (sku, 1))
    document = body(order_id, ("1", 1), channel="mail", location="south")
    document["lines"][0]["reason"] = "<script>"
    return_id = shop.post("/v1/returns", document).json()["id"]
    slip = shop.get(f"/v1/returns/{return_id}/slip")
    assert slip.headers["content-type"].startswith("text/html")
    for words in (
        return_id,
        order_id,
        "Socks &amp; &lt;shoes&gt;",
        "&lt;script&gt;",
        "<b>south</b>",
    ):
        assert words in slip.text
    assert "<script>" not in slip.text
    receive(shop, return_id, ("1", 1))
    problem(shop.get(f"/v1/returns/{return_id}/slip"), 409, "wrong_state")


def test_bad_input_names_the_field_and_the_rule(shop):
    """Each has its pointer, and changes nothing."""
    order_id = sold(shop, (shop.stock(5), 1), customer={"id": "kim"})
    for changed, named in (
        ({"lines": []}, ["/lines"]),
        ({"lines": [{"quantity": 1, "reason": "x"}]}, ["/lines/0/line"]),
        ({"lines": [{"line": "1", "quantity": 0, "reason": "x"}]}, ["/lines/0/quantity"]),
        ({"lines": [{"line": "1", "quantity": 1}]}, ["/lines/0/reason"]),
        ({"channel": "pigeon"}, ["/channel"]),
        ({"receipt": "b-1"}, ["/receipt"]),
        ({"exchange_fulfilment": SHIP}, ["/exchange_fulfilment"]),
        ({"wishes": 3}, ["/wishes"]),
    ):
        answer = shop.post("/v1/returns", body(order_id, ("1", 1)) | changed)
        assert pointers(answer) == named, changed
    for changed, status, code in (
        ({"lines": [{"line": "1", "quantity": 2, "reason": "x"}]}, 409, "quantity_exceeded"),
        ({"lines": [{"line": "2", "quantity": 1, "reason": "x"}]}, 404, "unknown_line"),
        ({"customer_id": "eve"}, 403, "wrong_customer"),
        ({"order_id": "nobody"}, 404, "unknown_order"),
        ({"location": "moon"}, 404, "unknown_location"),
    ):
        problem(shop.post("/v1/returns", body(order_id, ("1", 1)) | changed), status, code)
    receipt = {"receipt": "b-1", "channel": "store"}
    lines = {"lines": [{"sku": "apple", "quantity": 1, "reason": "x"}]}
    problem(shop.post("/v1/returns", receipt | lines), 404, "unknown_receipt")
    blind = {"channel": "store", "location": "north"} | lines
    problem(shop.post("/v1/returns", blind), 409, "return_not_allowed")
    assert "returns" not in shop.get(f"/v1/orders/{order_id}").json()
    for path in ("", "/slip", "/explain"):
        problem(shop.get(f"/v1/returns/nobody{path}"), 404, "unknown_return")


def test_returning_twice_is_refused_and_the_same_key_is_not(shop):
    """A key sent again answers as before; without one more is refused."""
    order_id = sold(shop, (shop.stock(5), 1))
    key = {"headers": {"idempotency-key": order_id}}
    first = shop.post("/v1/returns", body(order_id, ("1", 1)), **key)
    assert shop.post("/v1/returns", body(order_id, ("1", 1)), **key).json() == first.json()
    problem(shop.post("/v1/returns", body(order_id, ("1", 1))), 409, "quantity_exceeded")
    return_id = first.json()["id"]
    taken = {"headers": {"idempotency-key": "receive"}}
    document = {"location": "south", "lines": [{"line": "1", "quantity": 1}]}
    path = f"/v1/returns/{return_id}/receive"
    assert shop.post(path, document, **taken).json() == shop.post(path, document, **taken).json()
    problem(shop.post(path, document), 409, "quantity_exceeded")


def test_a_policy_is_put_and_decides(shop):
    """Every version decides from its answer on, and explains what it has decided."""
    put = shop.put("/v1/return-policy", {"reasons": ["broken"], "blind_locations": ["north"]})
    assert put.status_code == 200, put.text
    order_id = sold(shop, (shop.stock(5), 1))
    answer = shop.post("/v1/returns", body(order_id, ("1", 1)))
    assert pointers(answer, 409, "return_not_allowed") == ["/lines/0/reason"]
    # Without tokens everybody is an admin, who may set rules aside.
    made = announce(shop, order_id, ("1", 1), override="a gift")
    assert made["lines"][0]["decision"]["overridden"] == ["return_not_allowed"]
    receive(shop, made["id"], ("1", 1), disposition="damaged")
    told = shop.get(f"/v1/returns/{made['id']}/explain")
    explained = msgspec.json.decode(told.content, type=ExplainedReturn)
    assert explained.policies == [
        msgspec.convert(put.json(), type(explained.policies[0])),
    ]
    assert [each.type for each in explained.ledger] == ["return"]
    lines = [{"sku": "apple", "quantity": 2, "reason": "broken"}]
    blind = shop.post("/v1/returns", {"channel": "store", "location": "north", "lines": lines})
    assert blind.status_code == 201, blind.text
    found = shop.get("/v1/return-policy").json()
    assert shop.put("/v1/return-policy", found | {"reasons": []}).json()["version"] == (
        found["version"] + 1
    )
    for bad, named in (
        ({"window_days": -1}, ["/window_days"]),
        ({"rules": [{"restock": "inspect"}]}, ["/rules/0/category"]),
        ({"rules": [{"sku": "a"}, {"sku": "a"}]}, ["/rules/1"]),
        ({"override_roles": ["king"]}, ["/override_roles/0"]),
    ):
        assert pointers(shop.put("/v1/return-policy", bad)) == named
    assert pointers(shop.put("/v1/return-policy", {"version": "last"})) == ["/version"]
    assert shop.put("/v1/return-policy", {}).is_success


def test_what_happens_to_returns_is_told_by_published_types(shop):
    """Announced, received, refunded, a stray: decoded by types that refuse unknown fields."""
    order_id = sold(shop, (shop.stock(5), 2))
    return_id = announce(shop, order_id, ("1", 2))["id"]
    document = {
        "location": "south",
        "lines": [{"line": "1", "quantity": 1}, {"sku": "apple", "quantity": 1}],
    }
    shop.post(f"/v1/returns/{return_id}/receive", document)
    shop.post(f"/v1/returns/{return_id}/cancel")

    def told():
        log = EmbeddedLog(shop.data / LOG_FILE)
        try:
            events = [
                msgspec.json.decode(record.value, type=OrderEvent)
                for partition in log.partitions([ORDER_EVENTS])
                for record in log.read(partition, 0, 10_000)
            ]
        finally:
            log.close()
        return [each for each in events if each.subject == order_id]

    wait_until(lambda: any(each.type == "onhand.return.closed" for each in told()))
    events = [each for each in told() if each.type.split(".")[1] in {"return", "refund", "arrival"}]
    for each in events:
        thing = each.type.split(".")[1]
        assert each.type in event_types(thing)
        msgspec.convert(each.data, CHANGES[thing][0])
    assert [each.type.removeprefix("onhand.") for each in events] == [
        "return.authorised",
        "refund.instructed",
        "return.received",
        "arrival.unmatched",
        "return.closed",
    ]


def test_a_till_and_the_app_restock_once(tmp_path):
    """With everything running: the till's event is a claim, and availability says one unit."""
    deployment = Deployment(tmp_path, *HELD_UP)
    try:
        deployment.start().wait_ready()

        def post(path, document=None):
            status, answer = deployment.request("POST", path, document)
            assert status in {200, 201}, answer
            return answer

        deployment.publish(event(type="receipt", quantity=5), event(type="receipt", sku="pear"))
        collected = {"method": "pickup", "location": "north"}
        lines = [{"sku": "apple", "quantity": 2}]
        order = post("/v1/orders", {"lines": lines, "fulfilment": collected})
        task = order["tasks"][0]
        post(f"/v1/tasks/{task}/pick")
        post(f"/v1/tasks/{task}/ready", {})
        post(f"/v1/tasks/{task}/collect", {"pickup_code": order["pickup_code"]})
        wait_until(lambda: deployment.on_hand("apple", "north") == 3)
        return_id = post("/v1/returns", body(order["id"], ("1", 2)))["id"]
        back = {"type": "return", "location": "south", "disposition": "sellable"}
        deployment.publish(event(**back, return_id=return_id))
        wait_until(lambda: deployment.on_hand("apple", "south") == 1)
        lines = [{"line": "1", "quantity": 2}]
        post(f"/v1/returns/{return_id}/receive", {"location": "south", "lines": lines})
        deployment.publish(event(**back, order_id=order["id"]))

        def told():
            arrivals = deployment.get(f"/v1/returns/{return_id}")[1]["lines"][0]["arrivals"]
            return [(each["told_by_app"], each["told_by_till"]) for each in arrivals]

        wait_until(lambda: told() == [(2, 2)])
        # A movement after them: had the till's second word moved anything, it would be there too.
        post(f"/v1/returns/{return_id}/receive", {"location": "south", "lines": [STRAY]})
        wait_until(lambda: deployment.on_hand("pear", "south") == 1)
        assert deployment.on_hand("apple", "south") == 2
    finally:
        deployment.close()


def test_a_till_s_receipt_is_enough(tmp_path):
    """A purchase that is known from a till's sale alone comes back at another store, once."""
    deployment = Deployment(tmp_path, *HELD_UP)
    try:
        deployment.start().wait_ready()
        deployment.publish(
            event(type="receipt", quantity=5), event(type="receipt", location="south", sku="pear")
        )
        deployment.publish(event(quantity=2, basket_id="basket-9"))
        lines = [{"sku": "apple", "quantity": 1, "reason": "bruised"}]
        asked = {"receipt": "basket-9", "channel": "store", "lines": lines}

        def announced():
            status, answer = deployment.request("POST", "/v1/returns", asked)
            assert status in {201, 404}, answer
            return answer["id"] if status == 201 else None

        return_id = wait_until(announced)
        taken = {"location": "south", "lines": [{"line": "1", "quantity": 1}]}
        status, answer = deployment.request("POST", f"/v1/returns/{return_id}/receive", taken)
        assert (status, answer["status"]) == (200, "received")
        wait_until(lambda: deployment.on_hand("apple", "south") == 1)
        back = {"type": "return", "location": "south", "disposition": "sellable"}
        deployment.publish(event(**back, return_id=return_id, basket_id="basket-9"))
        deployment.publish(event(**back, basket_id="basket-9", reference="by hand"))
        wait_until(lambda: deployment.on_hand("apple", "south") == 2)

        def exceeded():
            status, answer = deployment.request("POST", "/v1/returns", asked)
            if status == 201:
                deployment.request("POST", f"/v1/returns/{answer['id']}/cancel")
            return status == 409 and answer["code"] == "quantity_exceeded"

        wait_until(exceeded)
        assert deployment.on_hand("apple", "south") == 2
    finally:
        deployment.close()
