"""Commands are decided, on disk, and then answered; what is refused changes nothing."""

import threading
from datetime import UTC, datetime

from onhand.ledger import OrderStore
from onhand.model.commands import CancelOrder, Destination, Fulfilment, OrderLine, PlaceOrder
from onhand.orders.engine import Asked
from onhand.writer.intake import Intake
from tests.writers import code, document, extension, hold_of


def test_a_hold_is_seen_by_every_reader_once_it_is_answered(shop):
    """A read that starts after the answer has it."""
    hold = shop.hold(quantity=3)
    assert hold["status"] == "active"
    assert shop.reserved() == 3
    assert shop.reader().available("apple", "north") == 997


def test_a_hold_outlives_its_writer(shop):
    """What was answered is there after a restart, reserved and known."""
    hold = shop.hold(quantity=3, key=b"k" * 16)
    shop.restart()
    assert shop.reserved() == 3
    again = shop.ask("release_hold", target=hold["id"])
    assert document(again)["status"] == "released"
    assert shop.reserved() == 0


def test_the_same_key_is_answered_the_same_also_after_a_restart(shop):
    """A command sent again is not carried out again."""
    first = shop.ask("place_hold", hold_of(quantity=2), key=b"k" * 16)
    assert shop.ask("place_hold", hold_of(quantity=2), key=b"k" * 16) == first
    shop.restart()
    assert shop.ask("place_hold", hold_of(quantity=2), key=b"k" * 16) == first
    assert shop.reserved() == 2


def test_another_body_under_the_same_key_is_a_conflict(shop):
    """The first one stands."""
    shop.ask("place_hold", hold_of(), key=b"k" * 16, sha=b"one")
    assert code(shop.ask("place_hold", hold_of(), key=b"k" * 16, sha=b"two")) == (
        "idempotency_conflict"
    )
    assert shop.reserved() == 1


def test_twins_in_flight_share_one_decision(shop):
    """Whether they meet in one batch or not, both are answered alike."""
    asked = Asked(what="place_hold", body=hold_of())
    futures = [shop.writer.submit(asked, key=b"t" * 16, body_sha=b"x") for _ in range(50)]
    assert len({future.result(20).document for future in futures}) == 1
    assert shop.reserved() == 1


def test_a_refusal_is_remembered(shop):
    """What was refused stays so under its key, though it would be possible by now."""
    refused = shop.ask("place_hold", hold_of(quantity=5_000), key=b"k" * 16)
    assert code(refused) == "insufficient_stock"
    assert document(refused)["lines"] == [
        {"line": 0, "sku": "apple", "wanted": 5_000, "available": 1_000}
    ]
    shop.kit.add("apple", "north", on_hand=9_000)
    assert shop.ask("place_hold", hold_of(quantity=5_000), key=b"k" * 16) == refused
    assert shop.hold(quantity=5_000)


def test_a_refused_command_leaves_the_others_of_its_batch_alone(shop):
    """Of 100 holds on 60 units, 60 are placed, whichever share a commit."""
    shop.kit.add("pear", "north", on_hand=60)
    asked = Asked(what="place_hold", body=hold_of("pear"))
    answers = [future.result(20) for future in [shop.writer.submit(asked) for _ in range(100)]]
    assert sum(not answer.refused for answer in answers) == 60
    assert shop.reserved("pear") == 60


def test_a_decision_that_fails_takes_no_other_with_it(shop):
    """A command that nothing can be made of is answered as our fault; the rest is decided."""
    broken = shop.writer.submit(Asked(what="place_hold", body=None))
    sound = shop.writer.submit(Asked(what="place_hold", body=hold_of()))
    assert code(broken.result(20)) == "internal_error"
    assert not sound.result(20).refused


def test_a_closed_hold_is_found_in_the_ledger(shop):
    """What is closed is not kept in memory, and still known."""
    hold = shop.hold()
    shop.ask("release_hold", target=hold["id"])
    assert code(shop.ask("extend_hold", extension(60), hold["id"])) == "hold_closed"
    assert document(shop.ask("release_hold", target=hold["id"]))["status"] == "released"
    assert code(shop.ask("extend_hold", extension(60), "hold_none")) == "unknown_hold"
    assert code(shop.ask("extend_hold", extension(60), "x\0y")) == "unknown_hold"


def test_commands_are_refused_before_the_start_and_after_the_end(deploy):
    """Nobody waits for a writer that does not decide."""
    shop = deploy()
    shop.open()
    shop.writer.stop()
    assert code(shop.ask("place_hold", hold_of())) == "writer_unavailable"


def test_a_stop_decides_what_waits(shop):
    """Everything submitted before the stop is answered; what was promised is kept."""
    asked = Asked(what="place_hold", body=hold_of())
    futures = [shop.writer.submit(asked) for _ in range(500)]
    shop.writer.stop()
    kept = sum(not future.result(0).refused for future in futures)
    shop.open()
    assert kept == 500
    assert shop.reserved() == kept


def test_a_stop_decides_what_came_after_a_look_that_found_nothing(shop, monkeypatch):
    """The last look comes after the stop, so nothing that was submitted before is left out."""
    looked, stopped = threading.Event(), threading.Event()

    def take(intake, **options):
        taken = real_take(intake, **options)
        if not taken and not looked.is_set():
            looked.set()
            stopped.wait(20)
        return taken

    def wake(intake):
        real_wake(intake)
        stopped.set()

    real_take, real_wake = Intake.take, Intake.wake
    monkeypatch.setattr(Intake, "take", take)
    monkeypatch.setattr(Intake, "wake", wake)
    assert looked.wait(20)
    future = shop.writer.submit(Asked(what="place_hold", body=hold_of()))
    shop.writer.stop()
    assert not future.result(0).refused


def test_a_day_s_capacity_is_used_up_after_a_restart_too(deploy):
    """What was closed before counts as what is open does: a full place gets no more that day."""
    shop = deploy()
    # A zone where it is about noon, so that the day does not end meanwhile.
    zone = "UTC" if 6 <= datetime.now(UTC).hour < 18 else "Pacific/Auckland"
    shop.set_up("north", latitude=0, longitude=0, daily_capacity=2, timezone=zone)
    shop.set_up("south", latitude=9, longitude=0)
    shop.open()
    shop.ask("cancel_order", CancelOrder(), ordered(shop)["id"])
    shop.restart()
    assert place_of(ordered(shop)) == "north"
    shop.restart()
    assert place_of(ordered(shop)) == "south"


def ordered(shop):
    """Order an apple to be sent to where north is."""
    body = PlaceOrder(
        lines=(OrderLine(sku="apple", quantity=1),),
        fulfilment=Fulfilment(method="ship", destination=Destination(latitude=0, longitude=0)),
    )
    return document(shop.ask("place_order", body))


def place_of(order):
    return order["lines"][0]["allocations"][0]["location"]


def test_set_up_is_followed(shop):
    """A store that is closed takes no holds from the next turn on."""
    shop.set_up("north", enabled=False)
    shop.writer.use_setup(shop.setup_store.load_setup())
    assert code(shop.ask("place_hold", hold_of())) == "location_disabled"


def test_what_a_batch_frees_is_seen_once_it_is_on_disk(shop, monkeypatch):
    """Until then readers see it promised: a commit that never comes would have shown too much."""
    hold = shop.hold(quantity=3)["id"]
    seen = []

    def commit(store, changes):
        # A commit that only notes what was sent may come at any time.
        if changes.holds:
            seen.append(shop.reserved())
        return real(store, changes)

    real = OrderStore.commit
    monkeypatch.setattr(OrderStore, "commit", commit)
    assert not shop.ask("release_hold", target=hold).refused
    assert seen == [3]
    assert shop.reserved() == 0
