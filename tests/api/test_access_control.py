"""Tokens and roles on every route, by a real server that asks for them."""

import pytest

from onhand.configuration import load_settings
from onhand.ledger import TokenStore, open_ledger
from onhand.model.access import ROLES
from tests.deployments import wait_until
from tests.servers import Server, event, problem

ROUTES = [
    ("GET", "/v1/availability/apple", "storefront"),
    ("POST", "/v1/availability/query", "storefront"),
    ("GET", "/v1/availability/apple/nearby?latitude=1&longitude=1", "storefront"),
    ("GET", "/v1/availability/apple/explain?location=north", "storefront"),
    ("GET", "/v1/availability/stream", "storefront"),
    ("POST", "/v1/events", "publisher"),
    ("GET", "/v1/locations", "admin"),
    ("PUT", "/v1/locations/north", "admin"),
    ("PUT", "/v1/skus", "admin"),
    ("PUT", "/v1/safety-stock", "admin"),
]
OPEN = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"]
COVERS = {
    "storefront": {"storefront", "orders", "associate", "admin"},
    "publisher": {"publisher", "admin"},
    "admin": {"admin"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("access"), auth=True)
    server.kit.add("apple", "north", on_hand=5)
    server.publish()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def store(server):
    ledger = open_ledger(load_settings({"data": str(server.data)}))
    yield TokenStore(ledger)
    ledger.close()


@pytest.fixture(scope="module")
def tokens(server, store):
    secrets = {role: store.create(role, ["north"] if role == "associate" else []) for role in ROLES}
    wait_until(
        lambda: server.get("/v1/locations", headers=bearer(secrets["admin"])).status_code == 200
    )
    return secrets


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path", "role"), ROUTES)
def test_a_route_opens_to_its_roles_alone(server, tokens, method, path, role):
    """401 without a token, 403 with one of another role, anything else with the right one."""
    response = server.client.request(method, path)
    problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")
    for each, token in tokens.items():
        response = server.client.request(method, path, headers=bearer(token))
        if each in COVERS[role]:
            assert response.status_code not in (401, 403), (each, response.text)
        else:
            assert role in problem(response, 403, "forbidden")["detail"]


@pytest.mark.parametrize("path", OPEN)
def test_operating_routes_are_open(server, path):
    """Probes and scrapers carry no tokens; a server that just started is ready in a moment."""
    wait_until(lambda: server.get(path).status_code == 200)


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer nonsense", "Basic dXNlcjpwYXNz", "bearer oh_00000000_x", "\xe9"],
)
def test_a_token_that_is_none_is_refused(server, authorization):
    """Rubbish in the header is answered as no token is."""
    headers = {"authorization": authorization.encode("latin-1")}
    problem(server.get("/v1/availability/apple", headers=headers), 401, "unauthenticated")
    problem(server.get("/v1/locations", headers=headers), 401, "unauthenticated")


def test_access_is_checked_before_the_request_is(server, tokens):
    """Who may not ask learns nothing about what would be right."""
    headers = bearer(tokens["storefront"])
    problem(server.client.post("/v1/events", content=b"x", headers=headers), 403, "forbidden")
    problem(server.get("/v1/availability/nothing?x=1"), 401, "unauthenticated")


def test_a_publisher_publishes(server, tokens):
    """The right role is all that it takes."""
    response = server.post("/v1/events", event(), headers=bearer(tokens["publisher"]))
    assert response.status_code == 202
