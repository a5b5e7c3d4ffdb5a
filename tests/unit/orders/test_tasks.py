"""Tasks: picked, packed, made ready and handed over, each step on what the one before has left."""

import json

import pytest

from onhand.model.check import check_object
from onhand.model.setup import Location
from onhand.orders.desk import Actor
from onhand.orders.refusal import Refusal
from onhand.orders.views import order_view
from tests.orders_shop import DAY_US, Shop, units_of


@pytest.fixture
def shop():
    """Put 5 of a in two stores, and 3 of b in the nearest."""
    return Shop({("a", "near"): 5, ("a", "mid"): 5, ("b", "near"): 3})


def refused(act, *args, **fields):
    """Return the code and the pointers with which a command is refused."""
    with pytest.raises(Refusal) as caught:
        act(*args, **fields)
    return caught.value.refusal_code, [error.pointer for error in caught.value.errors]


def status_of(shop, order_id, line=0):
    """Return the status of an order's line, with its quantities."""
    view = order_view(shop.book.orders[order_id])["lines"][line]
    return view["status"], view["quantities"]


def test_a_pickup_goes_pick_ready_collect(shop):
    """Each step moves the task on, and the units' status with it."""
    order_id = shop.order(("a", 3), ("b", 1), pickup="near")
    task_id = shop.task(order_id)
    assert status_of(shop, order_id) == ("allocated", {"allocated": 3})
    assert shop.step("pick", task_id)["status"] == "picked"
    assert status_of(shop, order_id) == ("picked", {"picked": 3})
    assert shop.step("ready", task_id)["status"] == "ready"
    assert status_of(shop, order_id) == ("ready", {"ready": 3})
    assert shop.step("collect", task_id)["status"] == "done"
    assert status_of(shop, order_id) == ("collected", {"collected": 3})
    assert shop.of(order_id).status == "fulfilled"
    shop.check()


def test_a_shipment_goes_pick_pack_ship(shop):
    """The carrier and its number stay with the task."""
    order_id = shop.order(("a", 3))
    task_id = shop.task(order_id)
    assert shop.walk(task_id, "pick", "pack")["status"] == "packed"
    assert status_of(shop, order_id) == ("packed", {"packed": 3})
    task = shop.step("ship", task_id, carrier="DHL", tracking_number="00340")
    assert (task["status"], task["carrier"], task["tracking_number"]) == ("done", "DHL", "00340")
    assert status_of(shop, order_id) == ("shipped", {"shipped": 3})
    shop.check()


def test_every_step_is_told(shop):
    """Events of the order carry each step, and the order's end."""
    task_id = shop.task(shop.order(("a", 1), pickup="near"))
    shop.commit()
    shop.walk(task_id, "pick", "ready", "collect")
    told = ["task.picked", "task.ready", "order.fulfilled", "task.collected"]
    assert shop.told() == told
    what = [entry.what for entry in shop.of(task_id).history]
    assert what == ["placed", "picked", "ready", "collected"]


STEPS = ("pick", "pack", "ready", "ship", "collect", "reject")


@pytest.mark.parametrize(
    ("method", "done", "allowed"),
    [
        ("pickup", [], {"pick", "reject"}),
        ("pickup", ["pick"], {"ready"}),
        ("pickup", ["pick", "ready"], {"collect"}),
        ("pickup", ["pick", "ready", "collect"], set()),
        ("ship", [], {"pick", "reject"}),
        ("ship", ["pick"], {"pack"}),
        ("ship", ["pick", "pack"], {"ship"}),
        ("ship", ["pick", "pack", "ship"], set()),
        ("ship", ["reject"], set()),
    ],
)
def test_steps_out_of_order_are_refused(method, done, allowed):
    """Whatever is not the next step is a wrong state, and changes nothing."""
    for step in STEPS:
        shop = Shop({("a", "near"): 5})
        order_id = shop.order(("a", 2), pickup="near" if method == "pickup" else None)
        task_id = shop.task(order_id)
        shop.walk(task_id, *done)
        before = shop.book.orders[order_id]
        if step in allowed:
            shop.step(step, task_id)
            continue
        assert refused(shop.step, step, task_id) == ("wrong_state", []), step
        assert shop.book.orders[order_id] is before


def test_a_wrong_state_says_what_is_and_what_is_needed(shop):
    """An associate reads what to do."""
    task_id = shop.task(shop.order(("a", 1), pickup="near"))
    with pytest.raises(Refusal, match="is open; to ready it, it must be picked"):
        shop.step("ready", task_id)
    with pytest.raises(Refusal, match="has no step pack: a pickup goes pick, ready, collect"):
        shop.step("pack", task_id)


def test_picking_goes_item_by_item(shop):
    """The task is picked with its last unit; the history keeps one entry a line."""
    order_id = shop.order(("a", 3), ("b", 1))
    task_id = shop.task(order_id)
    for _ in range(3):
        task = shop.step("pick", task_id, picked=units_of(("1", 1)))
        assert task["status"] == "open"
    assert status_of(shop, order_id) == ("picked", {"picked": 3})
    assert shop.step("pick", task_id, picked=units_of(("2", 1)))["status"] == "picked"
    entries = [(each.what, each.line, each.quantity) for each in shop.of(order_id).history]
    assert entries[1:] == [("picked", "1", 3), ("picked", "2", 1)]


def test_a_line_half_picked_is_in_two_statuses(shop):
    """Units on the shelf are allocated, units in the crate picked."""
    order_id = shop.order(("a", 3))
    shop.step("pick", shop.task(order_id), picked=units_of(("1", 2)))
    assert status_of(shop, order_id) == ("allocated", {"allocated": 1, "picked": 2})


@pytest.mark.parametrize(
    ("picked", "pointer"),
    [
        ([("1", 4)], "/picked/0/quantity"),
        ([("1", 2), ("1", 2)], "/picked/1/quantity"),
        ([("2", 1), ("1", 4)], "/picked/1/quantity"),
    ],
)
def test_more_than_is_left_cannot_be_picked(shop, picked, pointer):
    """The refusal names the entry with which it became too many, and nothing is picked."""
    order_id = shop.order(("a", 3), ("b", 1))
    act = refused(shop.step, "pick", shop.task(order_id), picked=units_of(*picked))
    assert act == ("quantity_exceeded", [pointer])
    assert all(each.picked == 0 for each in shop.of(order_id).allocations)


def test_a_line_of_another_task_is_unknown(shop):
    """A task hands over its own lines only."""
    order_id = shop.order(("b", 3), ("a", 7))
    near, mid = shop.task(order_id, "near"), shop.task(order_id, "mid")
    act = refused(shop.step, "pick", mid, picked=units_of(("1", 1)))
    assert act == ("unknown_line", ["/picked/0/line"])
    shop.step("pick", near, picked=units_of(("1", 1)))


def test_a_task_that_nobody_made_is_unknown(shop):
    """Neither a number too many, nor an order that is not there, nor no id at all is a task."""
    order_id = shop.order(("a", 1))
    for task_id in (f"{order_id}.t9", "other.t1", order_id, ""):
        assert refused(shop.step, "pick", task_id) == ("unknown_task", [])


def test_an_order_may_be_named_like_a_task(shop):
    """Only what follows the last dot of a task's id is the task's."""
    shop.order(("a", 1), order_id="web.t1")
    assert shop.step("pick", shop.task("web.t1"))["order_id"] == "web.t1"


def test_associates_work_at_their_own_locations(shop):
    """A token of another store is refused, at every step."""
    task_id = shop.task(shop.order(("a", 1), pickup="near"))
    other = Actor("Kim", frozenset({"mid"}))
    for step in STEPS:
        assert refused(shop.step, step, task_id, actor=other) == ("wrong_location", [])
    shop.step("pick", task_id, actor=Actor("Kim", frozenset({"near"})))
    assert shop.of(task_id).history[-1].by == "Kim"


def test_collecting_needs_the_code(shop):
    """A wrong code hands nothing over, whatever its characters."""
    task_id = shop.task(shop.order(("a", 1), pickup="near"))
    shop.walk(task_id, "pick", "ready")
    for code in ("999999999", "é"):
        act = refused(shop.step, "collect", task_id, pickup_code=code)
        assert act == ("wrong_pickup_code", ["/pickup_code"])
    assert shop.ledger() == []
    shop.step("collect", task_id)


def test_parts_are_collected_as_they_are_handed_over(shop):
    """Between them the task stays ready and the order is partly fulfilled."""
    order_id = shop.order(("a", 3), ("b", 1), pickup="near")
    task_id = shop.task(order_id)
    shop.walk(task_id, "pick", "ready")
    task = shop.step("collect", task_id, lines=units_of(("1", 2)))
    assert (task["status"], shop.of(task_id).status) == ("ready", "partially_fulfilled")
    assert status_of(shop, order_id) == ("ready", {"ready": 1, "collected": 2})
    act = refused(shop.step, "collect", task_id, lines=units_of(("1", 2)))
    assert act == ("quantity_exceeded", ["/lines/0/quantity"])
    assert shop.step("collect", task_id)["status"] == "done"
    assert [each["lines"] for each in shop.ledger()] == [
        [{"sku": "a", "quantity": 2}],
        [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 1}],
    ]
    shop.check()


def test_parts_ship_with_their_own_numbers(shop):
    """The history keeps which parcel took what."""
    task_id = shop.task(shop.order(("a", 3)))
    shop.walk(task_id, "pick", "pack")
    shop.step("ship", task_id, tracking_number="1", lines=units_of(("1", 1)))
    assert shop.step("ship", task_id, tracking_number="2")["status"] == "done"
    shipped = [each for each in shop.of(task_id).history if each.what == "shipped"]
    assert [(each.quantity, each.reason) for each in shipped] == [(1, "PostNL 1"), (2, "PostNL 2")]


def test_what_leaves_stays_reserved_until_supply_has_applied_it(shop):
    """At hand-over available dips for a moment and never rises."""
    task_id = shop.task(shop.order(("a", 3), pickup="near"))
    shop.walk(task_id, "pick", "ready")
    shop.commit()
    assert shop.available("a", "near") == 2
    shop.stock.watch()
    shop.step("collect", task_id)
    assert shop.available("a", "near") == 2
    assert shop.stock.lowest["a", "near"] == 3
    assert shop.book.in_flight == {("a", "near"): 3}
    shop.land()
    assert shop.available("a", "near") == 2
    assert shop.stock.numbers()[0] == {}
    shop.check()


def test_a_hand_over_is_an_event_that_supply_takes(shop):
    """One sale with the lines of all that left, the order and the customer, by its sequence."""
    task_id = shop.task(shop.order(("a", 3), ("b", 1), pickup="near"))
    shop.walk(task_id, "pick", "ready", "collect")
    (event,) = shop.ledger()
    checked = check_object(event, is_ledger=True)
    assert (checked.type, checked.location, checked.sequence) == ("sale", "near", 1)
    assert (checked.skus, checked.quantities) == (["a", "b"], [3, 1])
    assert (checked.occurred_us, checked.unknown_fields) == (shop.now_us, 0)
    assert event["order_id"] == shop.of(task_id).id


def test_a_refused_step_sends_nothing(shop):
    """What a command did before it was refused is undone, its sequence included."""
    order_id = shop.order(("a", 3), ("b", 1), pickup="near")
    task_id = shop.task(order_id)
    shop.walk(task_id, "pick", "ready")
    before = shop.stock.numbers()
    refused(shop.step, "collect", task_id, lines=units_of(("1", 1), ("2", 9)))
    assert (shop.ledger(), shop.book.last_sequence) == ([], 0)
    assert shop.stock.numbers() == before


def test_a_ready_pickup_waits_as_long_as_its_location_keeps_it(shop):
    """Three days here; a week at a place that nobody has set up."""
    task_id = shop.task(shop.order(("a", 1), pickup="near"))
    shop.walk(task_id, "pick", "ready")
    assert shop.of(task_id).tasks[0].collect_by_us == shop.now_us + 3 * DAY_US
    shop.stock.put("a", "kiosk", 1)
    task_id = shop.task(shop.order(("a", 1), pickup="kiosk"))
    shop.walk(task_id, "pick", "ready")
    assert shop.of(task_id).tasks[0].collect_by_us == shop.now_us + 7 * DAY_US


def test_a_location_keeps_pickups_as_long_as_when_they_were_made_ready(shop):
    """A later set-up shortens no promise that was made."""
    task_id = shop.task(shop.order(("a", 1), pickup="near"))
    shop.walk(task_id, "pick", "ready")
    near = Location(id="near", name="near", type="store", pickup_days=1)
    shop.desk.setup.locations["near"] = near
    assert shop.of(task_id).tasks[0].collect_by_us == shop.now_us + 3 * DAY_US


def test_many_lines_are_one_hand_over(shop):
    """As many SKUs as an order may have fit one event; lines of one SKU are one line of it."""
    shop = Shop({(f"s{n}", "near"): 2 for n in range(999)})
    lines = [(f"s{n}", 1) for n in range(999)] + [("s0", 1)]
    task_id = shop.task(shop.order(*lines, pickup="near"))
    shop.walk(task_id, "pick", "ready", "collect")
    (event,) = shop.ledger()
    assert len(event["lines"]) == 999
    assert event["lines"][0] == {"sku": "s0", "quantity": 2}
    assert len(json.dumps(event)) < 1_048_576
    assert len(shop.of(task_id).history) < 10
    shop.land()
    shop.check()
