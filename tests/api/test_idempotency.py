"""Idempotency-Key: the same key and body have one effect and one answer, also after a restart."""

import asyncio
import os
import signal

import httpx
import pytest

from tests.deployments import children_of, wait_until
from tests.servers import pointers, problem
from tests.shops import Shop, order_body


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def shop(request, tmp_path_factory):
    flags = ()
    if request.param == "postgres":
        flags = ("--database", request.getfixturevalue("module_postgres_url"))
    shop = Shop(tmp_path_factory.mktemp("keys"), *flags)
    shop.open().set_up()
    yield shop
    shop.close()


def keyed(key):
    return {"idempotency-key": key}


def hold_body(sku, quantity=1):
    return {"lines": [{"sku": sku, "quantity": quantity, "location": "north"}], "ttl_s": 60}


def same(first, second):
    """Check that two answers cannot be told apart."""
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.headers["content-type"] == second.headers["content-type"]


def test_the_same_key_and_body_have_one_effect(shop):
    """A hold, an order, and each step of its task."""
    sku = shop.stock(10)
    first = shop.post("/v1/holds", hold_body(sku), headers=keyed("one-effect"))
    assert first.status_code == 201
    same(first, shop.post("/v1/holds", hold_body(sku), headers=keyed("one-effect")))
    assert shop.numbers(sku)["reserved"] == 1
    first = shop.post("/v1/orders", order_body((sku, 2)), headers=keyed("one-effect"))
    same(first, shop.post("/v1/orders", order_body((sku, 2)), headers=keyed("one-effect")))
    order = first.json()
    task = order["tasks"][0]
    for verb, body in [
        ("pick", None),
        ("ready", None),
        ("collect", {"pickup_code": order["pickup_code"]}),
    ]:
        first = shop.step(task, verb, body, headers=keyed("one-effect"))
        assert first.status_code == 200
        same(first, shop.step(task, verb, body, headers=keyed("one-effect")))


def test_a_release_may_be_sent_again_under_its_key(shop):
    """DELETE takes a key like any change."""
    hold = shop.hold(shop.stock(10))
    path = f"/v1/holds/{hold['id']}"
    first = shop.client.delete(path, headers=keyed("release"))
    same(first, shop.client.delete(path, headers=keyed("release")))


def test_the_same_key_with_another_body_is_a_conflict(shop):
    """422, and the first answer stands."""
    sku = shop.stock(10)
    first = shop.post("/v1/holds", hold_body(sku), headers=keyed("conflict"))
    other = shop.post("/v1/holds", hold_body(sku, 2), headers=keyed("conflict"))
    problem(other, 422, "idempotency_conflict")
    same(first, shop.post("/v1/holds", hold_body(sku), headers=keyed("conflict")))
    assert shop.numbers(sku)["reserved"] == 1


def test_a_key_belongs_to_its_method_and_path(shop):
    """The same key elsewhere is another key."""
    sku = shop.stock(10)
    hold = shop.post("/v1/holds", hold_body(sku), headers=keyed("path")).json()
    path = f"/v1/holds/{hold['id']}"
    longer = shop.post(f"{path}/extend", {"ttl_s": 90}, headers=keyed("path"))
    assert longer.json()["expires_at"] != hold["expires_at"]
    released = shop.client.delete(path, headers=keyed("path"))
    assert released.json()["status"] == "released"


def test_a_refusal_is_the_answer_too(shop):
    """What was refused stays refused under its key, also once there is stock."""
    sku = shop.stock(1, ["north"])
    first = shop.post("/v1/holds", hold_body(sku, 5), headers=keyed("refused"))
    problem(first, 409, "insufficient_stock")
    shop.kit.add(sku, "north", on_hand=50)
    same(first, shop.post("/v1/holds", hold_body(sku, 5), headers=keyed("refused")))
    assert shop.post("/v1/holds", hold_body(sku, 5), headers=keyed("new")).status_code == 201


def test_a_question_is_answered_anew(shop):
    """A promise holds nothing and changes nothing: no key makes it an answer of yesterday."""
    sku = shop.stock(5, ["north"])
    asked = shop.post("/v1/promises", order_body((sku, 5)), headers=keyed("question"))
    assert asked.json()["options"]
    shop.hold(sku, 5)
    again = shop.post("/v1/promises", order_body((sku, 5)), headers=keyed("question"))
    assert again.json()["options"] == []


def test_what_is_not_valid_is_not_remembered(shop):
    """The same key is free for the body that was meant."""
    sku = shop.stock(10)
    wrong = shop.post("/v1/holds", hold_body(sku, 0), headers=keyed("corrected"))
    problem(wrong, 400, "invalid_request")
    right = shop.post("/v1/holds", hold_body(sku), headers=keyed("corrected"))
    assert right.status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(shop, key):
    """Empty, too long, or not printable."""
    sku = shop.stock(10)
    answer = shop.post("/v1/holds", hold_body(sku), headers=keyed(key))
    assert pointers(answer) == ["/Idempotency-Key"]
    assert shop.numbers(sku)["reserved"] == 0


def test_twins_in_flight_have_one_effect(shop):
    """Twenty at once under one key: one hold, one answer."""
    sku = shop.stock(100)

    async def race():
        async with httpx.AsyncClient(base_url=shop.url, timeout=20) as client:
            asked = [
                client.post("/v1/holds", json=hold_body(sku), headers=keyed("twins"))
                for _ in range(20)
            ]
            return await asyncio.gather(*asked)

    answers = asyncio.run(race())
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert shop.numbers(sku)["reserved"] == 1


def test_answers_are_remembered_across_a_restart(shop):
    """The server is killed; the same key has the same answer, and nothing is done twice."""
    sku = shop.stock(10)
    first = shop.post("/v1/orders", order_body((sku, 2)), headers=keyed("restart"))
    assert first.status_code == 201
    for pid in (*children_of(shop.process.pid), shop.process.pid):
        os.kill(pid, signal.SIGKILL)
    shop.process.wait()
    shop.start()
    wait_until(shop.ready)
    same(first, shop.post("/v1/orders", order_body((sku, 2)), headers=keyed("restart")))
    assert shop.numbers(sku)["reserved"] == 2
