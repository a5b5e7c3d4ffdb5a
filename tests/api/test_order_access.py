"""Who may promise, order and work at a location, how often, and what the log never says."""

import pytest

from onhand.configuration import load_settings
from onhand.ledger import TokenStore, open_ledger
from onhand.model.access import ROLES
from tests.deployments import wait_until
from tests.servers import problem
from tests.shops import Shop, order_body

ROUTES = [
    ("POST", "/v1/promises", "orders"),
    ("POST", "/v1/holds", "orders"),
    ("GET", "/v1/holds/x", "orders"),
    ("DELETE", "/v1/holds/x", "orders"),
    ("POST", "/v1/holds/x/extend", "orders"),
    ("POST", "/v1/orders", "either"),
    ("GET", "/v1/orders", "orders"),
    ("GET", "/v1/orders/x", "orders"),
    ("POST", "/v1/orders/x/cancel", "orders"),
    ("GET", "/v1/orders/x/explain", "orders"),
    ("POST", "/v1/returns", "either"),
    ("GET", "/v1/returns", "either"),
    ("GET", "/v1/returns/x", "either"),
    ("GET", "/v1/returns/x/slip", "either"),
    ("GET", "/v1/returns/x/explain", "either"),
    ("POST", "/v1/returns/x/cancel", "either"),
    ("POST", "/v1/returns/x/receive", "associate"),
    ("POST", "/v1/returns/x/inspect", "associate"),
    ("GET", "/v1/locations/north/tasks", "associate"),
    ("GET", "/v1/aisle/apple?location=north", "either"),
    ("GET", "/v1/customers/x/recommendations", "either"),
    ("GET", "/v1/customers/x", "either"),
    ("PUT", "/v1/customers/x/wishlist", "either"),
    ("DELETE", "/v1/customers/x", "orders"),
    *[
        ("POST", f"/v1/tasks/x.t1/{verb}", "associate")
        for verb in ("pick", "pack", "ship", "ready", "collect", "reject")
    ],
]
COVERS = {
    "orders": {"orders", "admin"},
    "associate": {"associate", "admin"},
    "either": {"orders", "associate", "admin"},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("access"), auth=True)
    ledger = open_ledger(load_settings({"data": str(shop.data)}))
    store = TokenStore(ledger)
    tokens = {role: store.create(role, ["north"] if role == "associate" else []) for role in ROLES}
    tokens["other"] = store.create("associate", ["south", "a/b"])
    tokens["second"] = store.create("orders")
    ledger.close()
    shop.open(authorization=f"Bearer {tokens['admin']}").set_up()
    shop.tokens = tokens
    yield shop
    shop.close()


def bearer(shop, role):
    return {"authorization": f"Bearer {shop.tokens[role]}"}


@pytest.mark.parametrize(("method", "path", "role"), ROUTES)
def test_each_route_is_open_to_its_roles_alone(shop, method, path, role):
    """401 without a token, 403 with a role that does not include the route's."""
    for given in ROLES:
        answer = shop.client.request(method, path, headers=bearer(shop, given))
        if given in COVERS[role]:
            assert answer.status_code not in (401, 403, 405), answer.text
        else:
            problem(answer, 403, "forbidden")
    answer = shop.client.request(method, path, headers={"authorization": "Bearer x"})
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"]


def test_associates_order_for_shoppers_in_the_store_alone(shop):
    """From everybody's stock, on channel `store` and no other."""
    body = order_body((shop.stock(), 1))
    problem(shop.post("/v1/orders", body, headers=bearer(shop, "associate")), 403, "wrong_channel")
    body["channel"] = "store"
    placed = shop.post("/v1/orders", body, headers=bearer(shop, "associate"))
    assert placed.status_code == 201, placed.text


def test_associates_work_at_their_own_locations(shop):
    """Another's task, and another's list, are refused; nothing has changed."""
    order = shop.post("/v1/orders", order_body((shop.stock(), 1))).json()
    task = order["tasks"][0]
    for verb, body in [("pick", None), ("reject", {"reason": "x"})]:
        answer = shop.step(task, verb, body, headers=bearer(shop, "other"))
        problem(answer, 403, "wrong_location")
    problem(
        shop.get("/v1/locations/north/tasks", headers=bearer(shop, "other")), 403, "wrong_location"
    )
    for path in ("/v1/aisle/apple", "/v1/customers/x/recommendations"):
        elsewhere = shop.get(path, params={"location": "north"}, headers=bearer(shop, "other"))
        problem(elsewhere, 403, "wrong_location")
    assert shop.step(task, "pick", headers=bearer(shop, "associate")).status_code == 200
    assert shop.step(task, "ready", headers=bearer(shop, "admin")).status_code == 200


def test_a_location_with_a_slash_has_tasks(shop):
    """Ids are quoted in paths, whatever they hold."""
    body = {"name": "A/B", "type": "store"}
    assert shop.put("/v1/locations/a%2Fb", body).json()["id"] == "a/b"
    listed = shop.get("/v1/locations/a%2Fb/tasks", headers=bearer(shop, "other"))
    assert listed.json() == {"items": [], "next": None}


def test_keys_of_two_tokens_are_two_keys(shop):
    """Nobody is answered what another was."""
    sku = shop.stock(10)
    body = {"lines": [{"sku": sku, "quantity": 1, "location": "north"}], "ttl_s": 60}
    ids = {
        shop.post(
            "/v1/holds", body, headers=bearer(shop, role) | {"idempotency-key": "shared"}
        ).json()["id"]
        for role in ("orders", "second", "orders")
    }
    assert len(ids) == 2


def test_histories_name_the_token_and_logs_name_nothing(shop):
    """By whom a step was taken is kept; secrets and people stay out of the log."""
    customer = {"id": "c-9", "name": "Grace Hopper", "email": "grace@example.com"}
    order = shop.post("/v1/orders", order_body((shop.stock(), 1), customer=customer)).json()
    shop.step(order["tasks"][0], "pick", headers=bearer(shop, "associate"))
    wrong = {"pickup_code": "x", "colour": "y"}
    shop.step(order["tasks"][0], "collect", wrong, headers=bearer(shop, "associate"))
    order = shop.get(f"/v1/orders/{order['id']}").json()
    assert order["history"][-1]["by"] == shop.tokens["associate"].split("_")[1]
    said = shop.said()
    for secret in (*shop.tokens.values(), order["pickup_code"], "Grace", "grace@example.com"):
        assert secret not in said


def test_a_token_that_asks_too_often_has_to_wait(tmp_path):
    """429 with Retry-After once its second is used up, and then on it goes."""
    shop = Shop(tmp_path, "--rate-limit-per-s", "5").open()
    try:
        sku = shop.stock(1_000)
        body = {"lines": [{"sku": sku, "quantity": 1, "location": "north"}], "ttl_s": 60}
        answers = [shop.post("/v1/holds", body) for _ in range(50)]
        assert {answer.status_code for answer in answers} == {201, 429}
        limited = next(answer for answer in answers if answer.status_code == 429)
        problem(limited, 429, "rate_limited")
        assert int(limited.headers["retry-after"]) >= 1
        made = sum(answer.status_code == 201 for answer in answers)
        assert shop.numbers(sku)["reserved"] == made
        wait_until(lambda: shop.post("/v1/holds", body).status_code == 201)
    finally:
        shop.close()
