"""Tasks over HTTP: pick lists, the steps of a pickup and of a shipment, and what is refused."""

import msgspec
import pytest

from onhand.web.documents import TaskDocument, TaskList
from tests.servers import pointers, problem
from tests.shops import SHIP, Shop

CARRIER = {"carrier": "Post", "tracking_number": "T-1"}


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def shop(request, tmp_path_factory):
    flags = ()
    if request.param == "postgres":
        flags = ("--database", request.getfixturevalue("module_postgres_url"))
    shop = Shop(tmp_path_factory.mktemp("tasks"), *flags)
    shop.open().set_up()
    yield shop
    shop.close()


def task_of(shop, order, task):
    listed = shop.get("/v1/locations/north/tasks", params={"limit": 1000}).json()["items"]
    return next(each for each in listed if each["id"] == task and each["order_id"] == order["id"])


def test_a_pickup_goes_pick_ready_collect(shop):
    """Each step answers the task; at the end nothing is open and the order is fulfilled."""
    sku = shop.stock(10)
    order = shop.order((sku, 2))
    task = order["tasks"][0]
    for verb, body, status in [
        ("pick", None, "picked"),
        ("ready", {}, "ready"),
        ("collect", {"pickup_code": order["pickup_code"]}, "done"),
    ]:
        answer = shop.step(task, verb, body)
        assert answer.status_code == 200, answer.text
        found = msgspec.json.decode(answer.content, type=TaskDocument)
        assert (found.status, found.order_id, found.location) == (status, order["id"], "north")
        assert task_of(shop, order, task) == answer.json()
    order = shop.get(f"/v1/orders/{order['id']}").json()
    assert (order["status"], order["lines"][0]["status"]) == ("fulfilled", "collected")
    assert [entry["what"] for entry in order["history"]][-3:] == ["picked", "ready", "collected"]


def test_a_shipment_goes_pick_pack_ship(shop):
    """The carrier and the number of the parcel stay with the task."""
    order = shop.order((shop.stock(10), 2), fulfilment=SHIP)
    task = shop.steps(order["tasks"][0], "pick", "pack", "ship", ship=CARRIER)
    assert (task["status"], task["carrier"], task["tracking_number"]) == ("done", "Post", "T-1")
    order = shop.get(f"/v1/orders/{order['id']}").json()
    assert (order["status"], order["lines"][0]["status"]) == ("fulfilled", "shipped")


def test_short_units_are_sourced_elsewhere_at_once(shop):
    """What is not on the shelf at north comes from south, with a task there."""
    sku = shop.stock(3, ["north", "south"])
    order = shop.order((sku, 2), fulfilment=SHIP)
    line = order["lines"][0]["id"]
    short = [{"line": line, "quantity": 1, "reason": "damaged"}]
    picked = [{"line": line, "quantity": 1}]
    task = shop.step(order["tasks"][0], "pick", {"picked": picked, "short": short}).json()
    assert (task["status"], task["lines"][0]["short"]) == ("picked", 1)
    order = shop.get(f"/v1/orders/{order['id']}").json()
    assert [each["location"] for each in order["lines"][0]["allocations"]] == ["north", "south"]
    assert len(order["tasks"]) == 2


def test_a_rejected_task_goes_elsewhere_and_never_back(shop):
    """Its units stay in stock; with nowhere else to go the line is cancelled."""
    sku = shop.stock(3, ["north"])
    order = shop.order((sku, 2), fulfilment=SHIP)
    task = shop.step(order["tasks"][0], "reject", {"reason": "no staff"}).json()
    assert (task["status"], task["reason"]) == ("rejected", "no staff")
    order = shop.get(f"/v1/orders/{order['id']}").json()
    assert (order["status"], order["lines"][0]["status"]) == ("cancelled", "cancelled")
    assert shop.available(sku) == 3


def test_tasks_are_listed_oldest_promise_first(shop):
    """By status, page by page, each once, with what is to be picked."""
    sku = shop.stock(100, ["south"])
    there = {"method": "pickup", "location": "south"}
    placed = [shop.order((sku, 1), fulfilment=there)["tasks"][0] for _ in range(5)]
    shop.step(placed[0], "pick")
    found, cursor = [], None
    while True:
        query = {"status": "open", "limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = shop.get("/v1/locations/south/tasks", params=query)
        page = msgspec.json.decode(answer.content, type=TaskList)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    ids = [task.id for task in found]
    assert [each for each in ids if each in placed] == placed[1:]
    assert len(set(ids)) == len(ids)
    assert [task.due_at for task in found] == sorted(task.due_at for task in found)
    assert all(task.status == "open" for task in found)


def test_units_are_picked_and_collected_in_parts(shop):
    """Line by line, as often as it takes."""
    order = shop.order((shop.stock(10), 3))
    task, line = order["tasks"][0], order["lines"][0]["id"]
    one = [{"line": line, "quantity": 1}]
    assert shop.step(task, "pick", {"picked": one}).json()["status"] == "open"
    assert shop.step(task, "pick").json()["status"] == "picked"
    shop.steps(task, "ready")
    code = order["pickup_code"]
    part = shop.step(task, "collect", {"pickup_code": code, "lines": one}).json()
    assert (part["status"], part["lines"][0]["handed_over"]) == ("ready", 1)
    assert shop.get(f"/v1/orders/{order['id']}").json()["status"] == "partially_fulfilled"
    assert shop.step(task, "collect", {"pickup_code": code}).json()["status"] == "done"


def test_what_is_refused_changes_nothing(shop):
    """Steps out of turn, wrong codes, too many units, unknown lines: each names what is wrong."""
    order = shop.order((shop.stock(10), 2))
    task, line, code = order["tasks"][0], order["lines"][0]["id"], order["pickup_code"]
    wrong = f"{(int(code) + 1) % 1_000_000:06}"
    before = task_of(shop, order, task)
    problem(shop.step(task, "collect", {"pickup_code": code}), 409, "wrong_state")
    problem(shop.step(task, "pack"), 409, "wrong_state")
    problem(shop.step(task, "ship", CARRIER), 409, "wrong_state")
    many = shop.step(task, "pick", {"picked": [{"line": line, "quantity": 3}]})
    assert pointers(many, 409, "quantity_exceeded") == ["/picked/0/quantity"]
    other = shop.step(task, "pick", {"picked": [{"line": "no-line", "quantity": 1}]})
    assert pointers(other, 404, "unknown_line") == ["/picked/0/line"]
    assert task_of(shop, order, task) == before
    ready = shop.steps(task, "pick", "ready")
    refused = shop.step(task, "collect", {"pickup_code": wrong})
    assert pointers(refused, 403, "wrong_pickup_code") == ["/pickup_code"]
    assert task_of(shop, order, task) == ready
    shop.steps(task, "collect", collect={"pickup_code": code})
    problem(shop.step(task, "collect", {"pickup_code": code}), 409, "wrong_state")
    problem(shop.step(task, "reject", {"reason": "late"}), 409, "wrong_state")


@pytest.mark.parametrize(
    ("verb", "body", "expected"),
    [
        ("pick", {"picked": [{"line": "1"}]}, ["/picked/0/quantity"]),
        ("pick", {"short": [{"line": "1", "quantity": 1}]}, ["/short/0/reason"]),
        ("pick", {"all": True}, ["/all"]),
        ("pack", {"box": 1}, ["/box"]),
        ("ready", [], [""]),
        ("ship", {}, ["/carrier", "/tracking_number"]),
        ("collect", {}, ["/pickup_code"]),
        ("collect", {"pickup_code": 123456}, ["/pickup_code"]),
        ("reject", {"reason": ""}, ["/reason"]),
    ],
)
def test_a_wrong_step_is_refused_field_by_field(shop, verb, body, expected):
    """Every field at fault is named, whatever the task."""
    assert pointers(shop.step("any.t1", verb, body)) == expected


@pytest.mark.parametrize("verb", ["ship", "collect", "reject"])
def test_steps_that_say_something_need_a_body(shop, verb):
    """An empty one is no JSON."""
    problem(shop.step("any.t1", verb), 400, "malformed_json")


@pytest.mark.parametrize("task", ["nobody", "a/b.t1", "%00", "x" * 300, "a.t0"])
def test_an_unknown_task_is_no_task(shop, task):
    """404 for every step; a step that there is not is no route."""
    problem(shop.step(task, "pick"), 404, "unknown_task")
    problem(shop.step(task, "paint"), 404, "not_found")
    problem(shop.get(f"/v1/tasks/{task}/pick"), 405, "method_not_allowed")


def test_only_known_locations_have_tasks(shop):
    """One that nobody has named is told apart from one without work."""
    assert shop.get("/v1/locations/closed/tasks").json() == {"items": [], "next": None}
    problem(shop.get("/v1/locations/never-seen/tasks"), 404, "unknown_location")
    assert pointers(shop.get("/v1/locations/north/tasks", params={"status": "x"})) == ["/status"]
