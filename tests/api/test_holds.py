"""Holds over HTTP: made whole or not at all, extended, released, and over when they say so."""

import time
from datetime import datetime

import msgspec
import pytest

from onhand.web.documents import HoldDocument
from tests.deployments import wait_until
from tests.servers import pointers, problem
from tests.shops import Shop


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def shop(request, tmp_path_factory):
    flags = ()
    if request.param == "postgres":
        flags = ("--database", request.getfixturevalue("module_postgres_url"))
    shop = Shop(tmp_path_factory.mktemp("holds"), *flags)
    shop.open().set_up()
    yield shop
    shop.close()


def test_a_hold_is_seen_by_the_next_read(shop):
    """201 with the whole hold; what it holds is reserved, and it can be read."""
    sku = shop.stock(10)
    answer = shop.post(
        "/v1/holds", {"lines": [{"sku": sku, "quantity": 4, "location": "north"}], "ttl_s": 60}
    )
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    hold = msgspec.json.decode(answer.content, type=HoldDocument)
    assert (hold.status, hold.channel) == ("active", "web")
    assert msgspec.to_builtins(hold.lines) == [{"sku": sku, "quantity": 4, "location": "north"}]
    assert shop.numbers(sku)["reserved"] == 4
    assert shop.available(sku) == 6
    assert shop.get(f"/v1/holds/{hold.id}").json() == answer.json()


def test_a_line_on_a_group_is_placed_on_its_cells(shop):
    """Units come from members of the group, from several where one has too few."""
    sku = shop.stock(10, ["north", "south"])
    hold = shop.hold(sku, 15, group="online")
    assert sum(line["quantity"] for line in hold["lines"]) == 15
    assert {line["location"] for line in hold["lines"]} == {"north", "south"}


def test_a_hold_is_all_or_nothing(shop):
    """One line that lacks stock refuses all, saying what is wanted and available of it."""
    sku, other = shop.stock(10), shop.stock(3)
    lines = [
        {"sku": sku, "quantity": 1, "location": "north"},
        {"sku": other, "quantity": 4, "location": "north"},
    ]
    body = problem(shop.post("/v1/holds", {"lines": lines, "ttl_s": 60}), 409, "insufficient_stock")
    assert body["lines"] == [{"line": 1, "sku": other, "wanted": 4, "available": 3}]
    assert body["errors"][0]["pointer"] == "/lines/1"
    assert shop.numbers(sku)["reserved"] == 0


def test_a_hold_is_released_once(shop):
    """Its units are free in the next read; releasing again changes nothing."""
    sku = shop.stock(10)
    hold = shop.hold(sku, 3)
    for _ in range(2):
        answer = shop.client.delete(f"/v1/holds/{hold['id']}")
        assert (answer.status_code, answer.json()["status"]) == (200, "released")
        assert shop.available(sku) == 10
    problem(shop.post(f"/v1/holds/{hold['id']}/extend", {"ttl_s": 60}), 409, "hold_closed")


def test_a_hold_is_extended(shop):
    """It ends so many seconds from now."""
    hold = shop.hold(shop.stock(10), ttl_s=60)
    longer = shop.post(f"/v1/holds/{hold['id']}/extend", {"ttl_s": 900})
    assert longer.status_code == 200
    assert longer.json()["expires_at"] > hold["expires_at"]
    assert shop.get(f"/v1/holds/{hold['id']}").json() == longer.json()


def test_a_hold_ends_by_itself(shop):
    """Afterwards it reads as expired, its units are free, and nothing can be done with it."""
    sku = shop.stock(10)
    hold = shop.hold(sku, 3, ttl_s=1)
    wait_until(lambda: shop.get(f"/v1/holds/{hold['id']}").json()["status"] == "expired")
    wait_until(lambda: shop.available(sku) == 10)
    problem(shop.post(f"/v1/holds/{hold['id']}/extend", {"ttl_s": 60}), 409, "hold_expired")
    assert shop.get(f"/v1/holds/{hold['id']}").json()["status"] == "expired"


@pytest.mark.parametrize(
    ("line", "status", "code", "pointer"),
    [
        ({"sku": "never-seen"}, 404, "unknown_sku", "/lines/0/sku"),
        ({"location": "never-seen"}, 404, "unknown_location", "/lines/0/location"),
        ({"location": None, "group": "never-seen"}, 404, "unknown_group", "/lines/0/group"),
        ({"location": "closed"}, 409, "location_disabled", "/lines/0/location"),
        ({"quantity": 0}, 400, "invalid_request", "/lines/0/quantity"),
        ({"quantity": 2_147_483_648}, 400, "invalid_request", "/lines/0/quantity"),
        ({"quantity": 1.5}, 400, "invalid_request", "/lines/0/quantity"),
        ({"quantity": True}, 400, "invalid_request", "/lines/0/quantity"),
        ({"group": "online"}, 400, "invalid_request", "/lines/0/location"),
        ({"sku": "x" * 65}, 400, "invalid_request", "/lines/0/sku"),
        ({"sku": "a\0"}, 400, "invalid_request", "/lines/0/sku"),
        ({"colour": "red"}, 400, "invalid_request", "/lines/0/colour"),
    ],
)
def test_a_wrong_line_is_named(shop, line, status, code, pointer):
    """Nothing is held, and the problem points at the field."""
    sku = shop.stock(10)
    line = {"sku": sku, "quantity": 1, "location": "north"} | line
    line = {name: value for name, value in line.items() if value is not None}
    good = {"sku": sku, "quantity": 1, "location": "north"}
    for lines in ([line], [line, good]):
        answer = shop.post("/v1/holds", {"lines": lines, "ttl_s": 60})
        assert pointers(answer, status, code) == [pointer]
    assert shop.numbers(sku)["reserved"] == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/lines", "/ttl_s"]),
        ({"lines": [], "ttl_s": 0}, ["/lines", "/ttl_s"]),
        ({"lines": [1], "ttl_s": 14_401}, ["/lines/0", "/ttl_s"]),
        ({"lines": {}, "ttl_s": "60", "extra": 1}, ["/extra", "/lines", "/ttl_s"]),
        ([], [""]),
    ],
)
def test_a_wrong_body_is_refused_field_by_field(shop, body, expected):
    """Every field at fault is named at once."""
    assert pointers(shop.post("/v1/holds", body)) == expected


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(shop, body):
    """Torn, empty, not UTF-8, nested without end."""
    problem(shop.client.post("/v1/holds", content=body), 400, "malformed_json")


def test_a_body_that_is_too_large_is_refused(shop):
    """Over 1 MiB it is not looked at."""
    body = b'{"ttl_s": 60, "lines": [' + b" " * (1 << 20) + b"]}"
    problem(shop.client.post("/v1/holds", content=body), 413, "body_too_large")


@pytest.mark.parametrize("hold_id", ["nobody", "a/b", "%00", "x" * 200, "ü"])
def test_an_unknown_hold_is_no_hold(shop, hold_id):
    """Whatever is asked of it."""
    path = f"/v1/holds/{hold_id}"
    problem(shop.get(path), 404, "unknown_hold")
    problem(shop.client.delete(path), 404, "unknown_hold")
    problem(shop.post(f"{path}/extend", {"ttl_s": 60}), 404, "unknown_hold")


def test_units_are_free_within_a_second_after_a_hold_ends(shop):
    """Never before it; and at the best of a few, for what holds up a machine says nothing."""

    def late_s():
        sku = shop.stock(10)
        hold = shop.hold(sku, 3, ttl_s=1)
        wait_until(lambda: shop.available(sku) == 10)
        return time.time() - datetime.fromisoformat(hold["expires_at"]).timestamp()

    late = []
    while not late or (late[-1] >= 1 and len(late) < 5):
        late.append(late_s())
        # The end is told in whole milliseconds.
        assert late[-1] > -0.001
    assert late[-1] < 1


def test_promising_stops_when_numbers_are_too_old(tmp_path):
    """503 with Retry-After; reads go on."""
    shop = Shop(tmp_path, "--max-supply-age-ms", "200").open()
    try:
        time.sleep(0.5)
        body = {"lines": [{"sku": "apple", "quantity": 1, "location": "north"}], "ttl_s": 60}
        answer = shop.post("/v1/holds", body)
        problem(answer, 503, "supply_stale")
        assert int(answer.headers["retry-after"]) >= 1
        assert shop.available("apple") == 1_000_000

        def promised():
            # Numbers of this moment are too old a moment later.
            shop.now()
            return shop.post("/v1/holds", body).status_code == 201

        wait_until(promised)
    finally:
        shop.close()


def test_holds_stop_when_as_many_are_open_as_may_be(tmp_path):
    """409 says how many; what is given back makes room."""
    shop = Shop(tmp_path, "--open-reservations-max", "1").open()
    try:
        first = shop.hold("apple")
        body = {"lines": [{"sku": "apple", "quantity": 1, "location": "north"}], "ttl_s": 60}
        problem(shop.post("/v1/holds", body), 409, "too_many_open")
        assert shop.numbers("apple")["reserved"] == 1
        assert shop.client.delete(f"/v1/holds/{first['id']}").is_success
        assert shop.post("/v1/holds", body).status_code == 201
    finally:
        shop.close()


def test_holds_stop_when_the_table_of_promises_is_full(tmp_path):
    """The hold that finds no room is refused and changes nothing; what is promised stays."""
    shop = Shop(tmp_path, "--table-bytes-max", "6MiB")
    skus = [f"{number:064d}" for number in range(10_000)]
    for sku in skus:
        shop.kit.add(sku, "north", on_hand=1)
    shop.open()
    try:
        held, answer = 0, None
        for start in range(0, len(skus), 100):
            lines = [
                {"sku": sku, "quantity": 1, "location": "north"}
                for sku in skus[start : start + 100]
            ]
            answer = shop.post("/v1/holds", {"lines": lines, "ttl_s": 600})
            if not answer.is_success:
                break
            held += 100
        problem(answer, 503, "table_full")
        assert held > 0
        assert shop.numbers(skus[held - 1])["reserved"] == 1
        assert shop.numbers(skus[held])["reserved"] == 0
    finally:
        shop.close()
