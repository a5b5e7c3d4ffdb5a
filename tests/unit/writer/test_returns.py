"""The order writer and returns: closed orders are found, restarts forget nothing."""

import msgspec

from onhand.ledger import OrderReads
from onhand.log.base import NewRecord
from onhand.log.topics import CLAIMS
from onhand.model.commands import (
    CollectTask,
    Fulfilment,
    OrderLine,
    PickTask,
    PlaceOrder,
    ReadyTask,
)
from onhand.model.return_commands import (
    AnnouncedLine,
    AuthoriseReturn,
    CancelReturn,
    ExchangeLine,
    ReceivedLine,
    ReceiveReturn,
)
from onhand.orders.book import decode_return
from onhand.orders.purchases import Purchase, PurchasedLine
from tests.deployments import wait_until
from tests.writers import code, document, now_us

DAY_US = 86_400_000_000


def sold(shop, quantity=2):
    """Sell apples and hand them over; the order is closed then."""
    body = PlaceOrder(
        lines=(OrderLine(sku="apple", quantity=quantity, unit_price=2.0),),
        fulfilment=Fulfilment(method="pickup", location="north"),
    )
    order = document(shop.ask("place_order", body))
    task = order["tasks"][0]
    shop.ask("pick_task", PickTask(), task)
    shop.ask("ready_task", ReadyTask(), task)
    collected = shop.ask("collect_task", CollectTask(pickup_code=order["pickup_code"]), task)
    assert not collected.refused, collected.document
    return order["id"]


def announce(shop, quantity=1, **fields):
    line = AnnouncedLine(sku="apple", quantity=quantity, reason="bruised")
    return shop.ask("authorise_return", AuthoriseReturn(lines=(line,), channel="store", **fields))


def receive(shop, return_id, quantity=1, at="south"):
    body = ReceiveReturn(location=at, lines=(ReceivedLine(line="1", quantity=quantity),))
    return shop.ask("receive_return", body, return_id)


def restocked(shop):
    """Sum the apples that returns have put on the ledger."""
    rows = OrderReads(shop.ledger).load_ledger_events(0)
    events = [msgspec.json.decode(each.document) for each in rows]
    back = [each for each in events if each["type"] == "return"]
    return sum(line["quantity"] for each in back for line in each["lines"])


def test_a_closed_order_takes_back_no_more_than_left_across_restarts(shop):
    """What is back and what is awaited is in the ledger, for whichever writer comes next."""
    order_id = sold(shop)
    return_id = document(announce(shop, order_id=order_id))["id"]
    shop.restart()
    assert document(receive(shop, return_id))["status"] == "received"
    shop.restart()
    assert code(receive(shop, return_id)) == "quantity_exceeded"
    assert code(announce(shop, 2, order_id=order_id)) == "quantity_exceeded"
    second = document(announce(shop, order_id=order_id))["id"]
    assert code(announce(shop, order_id=order_id)) == "quantity_exceeded"
    assert document(receive(shop, second, at="north"))["status"] == "received"
    wait_until(lambda: restocked(shop) == 2)
    wait_until(lambda: shop.counted("onhand_returned_units_total", "sellable") == 2)


def test_many_at_once_take_back_no_more_than_left(shop):
    """Twenty ask at the same moment for what ten may have."""
    order_id = sold(shop, 10)
    line = AnnouncedLine(sku="apple", quantity=1, reason="bruised")
    body = AuthoriseReturn(order_id=order_id, lines=(line,), channel="mail")
    futures = [shop.writer.submit(shop.asked("authorise_return", body)) for _ in range(20)]
    answers = [each.result(20) for each in futures]
    assert sum(not each.refused for each in answers) == 10
    assert {code(each) for each in answers if each.refused} == {"quantity_exceeded"}


def test_a_return_that_never_comes_expires_with_its_exchange(shop):
    """The writer's own clock ends it; the apples of the exchange are free again."""
    order_id = sold(shop)
    exchange = (ExchangeLine(sku="apple", quantity=3),)
    made = document(announce(shop, order_id=order_id, location="south", exchange=exchange))
    assert shop.reserved(location="south") == 3
    wait_until(lambda: shop.counted("onhand_returns_open") == 1)
    shop.restart()
    shop.clock.offset_us += 15 * DAY_US
    wait_until(lambda: shop.reserved(location="south") == 0)
    wait_until(lambda: shop.counted("onhand_returns_expired_total") == 1)
    assert code(receive(shop, made["id"])) == "wrong_state"
    answer = document(announce(shop, 2, order_id=order_id))
    assert answer["status"] == "authorised"


def test_an_exchange_cancelled_after_a_restart_is_owed_for(shop):
    """All was back and paid for it; whichever writer cancels it then knows of the return."""
    order_id = sold(shop)
    exchange = (ExchangeLine(sku="apple", quantity=1, unit_price=2.0),)
    made = document(announce(shop, order_id=order_id, location="south", exchange=exchange))
    assert document(receive(shop, made["id"]))["exchange"]["settled"] == 2.0
    shop.restart()
    assert not shop.ask("cancel_order", None, made["exchange"]["order_id"]).refused
    row = OrderReads(shop.ledger).return_(made["id"])
    after = decode_return(row.document).exchange
    assert (after.settled, after.cancelled_value, after.over) == (0.0, 2.0, True)
    assert not row.is_open
    wait_until(lambda: shop.counted("onhand_returns_open") == 0)


def test_tills_are_heard_about_returns_and_closed_orders(shop):
    """By the return's id or the order's: with the app's word the units are restocked once."""
    order_id = sold(shop)
    return_id = document(announce(shop, order_id=order_id))["id"]
    for number, named in enumerate(({"return_id": return_id}, {"order_id": order_id})):
        told = {
            "type": "return",
            "id": f"back-{number}",
            "source": "till",
            "occurred_at": "2026-06-01T10:00:00Z",
            "location": "south",
            "sku": "apple",
            "quantity": 1,
            "disposition": "sellable",
            **named,
        }
        record = NewRecord(CLAIMS, msgspec.json.encode(told), b"till")
        shop.log.append([record, record])
    wait_until(lambda: restocked(shop) == 2)
    assert document(receive(shop, return_id))["status"] == "received"
    assert code(announce(shop, order_id=order_id)) == "quantity_exceeded"
    assert restocked(shop) == 2
    wait_until(lambda: shop.counted("onhand_claims_total", "repeated") == 2)


def test_an_exchange_needs_numbers_of_now_and_a_return_does_not(deploy):
    """With stock numbers too old nothing is promised; goods are taken in all the same."""
    shop = deploy(max_supply_age_ms=60_000).open()
    order_id = sold(shop)
    shop.stamp(age_s=120)
    exchange = (ExchangeLine(sku="apple", quantity=1),)

    def stale():
        answer = announce(shop, order_id=order_id, location="south", exchange=exchange)
        return answer.refused and code(answer) == "supply_stale"

    wait_until(stale)
    return_id = document(announce(shop, order_id=order_id))["id"]
    assert document(receive(shop, return_id))["status"] == "received"


class Receipts:
    """One purchase of a moment ago, as a history of tills knows it."""

    def find(self, receipts):
        """Find the one that there is."""
        lines = (PurchasedLine(sku="apple", quantity=2, unit_price=2.0),)
        known = Purchase(receipt="basket-1", sold_us=now_us(), lines=lines)
        return {each: known for each in receipts if each == known.receipt}


def test_receipts_are_looked_up_and_their_returns_counted(shop):
    """Closed returns of a receipt count too, after a restart as before."""
    assert code(announce(shop, receipt="basket-1")) == "unknown_receipt"
    shop.restart(Receipts())
    return_id = document(announce(shop, receipt="basket-1"))["id"]
    assert document(receive(shop, return_id))["status"] == "received"
    shop.restart(Receipts())
    assert code(announce(shop, 2, receipt="basket-1")) == "quantity_exceeded"
    second = document(announce(shop, receipt="basket-1"))["id"]
    assert document(shop.ask("cancel_return", CancelReturn(), second))["status"] == "cancelled"
    assert document(announce(shop, receipt="basket-1"))["status"] == "authorised"
    assert code(announce(shop, receipt="basket-2")) == "unknown_receipt"
