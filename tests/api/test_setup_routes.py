"""Set-up over HTTP: what is put is seen by the next read, and what is wrong is named."""

import pytest

from tests.servers import Server, pointers, problem

READ = "/v1/availability/apple"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("setup"))
    for location in ("north", "south", "new"):
        server.kit.add("apple", location, on_hand=10)
    server.publish()
    server.start()
    yield server
    server.close()


def test_a_location_is_created_then_replaced(server):
    """201 the first time, 200 after; what is left out gets its default again."""
    first = server.put(
        "/v1/locations/first-put", {"name": "N", "type": "store", "groups": ["g"], "priority": 3}
    )
    assert (first.status_code, first.json()["priority"]) == (201, 3)
    second = server.put("/v1/locations/first-put", {"name": "First", "type": "store"})
    assert (second.status_code, second.json()["priority"]) == (200, 0)
    assert second.json()["timezone"] == "UTC"
    assert second.json()["enabled"] is True


def test_the_next_read_sees_what_was_put(server):
    """Groups, enabling and safety stock count from the answer of the PUT on."""
    for turn in range(5):
        group = f"turn-{turn}"
        body = {"name": "South", "type": "store", "groups": [group]}
        assert server.put("/v1/locations/south", body).is_success
        assert server.get(READ, params={"group": group}).json()["available"] == 10
        assert server.put("/v1/safety-stock", [{"group": group, "quantity": turn}]).is_success
        assert server.get(READ, params={"group": group}).json()["available"] == 10 - turn
    assert server.put("/v1/safety-stock", []).json() == {"count": 0}


def test_a_disabled_location_is_in_no_group_and_still_read(server):
    """``all`` loses its units; a read of the place itself does not."""
    before = server.get(READ).json()["available"]
    closed = {"name": "South", "type": "store", "enabled": False}
    assert server.put("/v1/locations/south", closed).is_success
    assert server.get(READ).json()["available"] == before - 10
    assert server.get(READ, params={"location": "south"}).json()["available"] == 10


def test_locations_are_listed_page_by_page(server):
    """By id, configured or only named by events, each once."""
    server.put("/v1/locations/north", {"name": "North", "type": "store"})
    server.put("/v1/locations/south", {"name": "South", "type": "store"})
    found, cursor = [], None
    while True:
        page = server.get(
            "/v1/locations", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        found += page.json()["items"]
        cursor = page.json()["next"]
        if cursor is None:
            break
    ids = [each["id"] for each in found]
    assert ids == sorted({"new", "north", "south", *ids})
    configured = {each["id"]: each["configured"] for each in found}
    assert (configured["new"], configured["north"]) == (False, True)


def test_skus_are_known_once_set_up(server):
    """A SKU without stock reads as zeros instead of 404."""
    assert server.get("/v1/availability/quince").status_code == 404
    assert server.put("/v1/skus", [{"sku": "quince", "category": "fruit"}]).json() == {"count": 1}
    assert server.get("/v1/availability/quince").json()["available"] == 0


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("locations/x", {"type": "store"}, ["/name"]),
        ("locations/x", {"name": "X", "type": "kiosk", "colour": 1}, ["/colour", "/type"]),
        ("locations/x", {"name": "X", "type": "store", "latitude": 1}, ["/longitude"]),
        ("locations/x", {"name": "X", "type": "store", "timezone": "Mars"}, ["/timezone"]),
        ("locations/x", {"name": "X", "type": "store", "id": "y"}, ["/id"]),
        ("locations/x", ["X"], [""]),
        ("skus", {"sku": "x"}, [""]),
        ("skus", [{"sku": "x"}, {"sku": "x"}, {"sku": ""}], ["/2/sku"]),
        ("skus", [{"sku": "x", "size": 3}], ["/0/size"]),
        ("safety-stock", [{"quantity": 1}], ["/0"]),
        ("safety-stock", [{"sku": "x", "quantity": 1.5}], ["/0/quantity"]),
        ("safety-stock", [{"group": "nobody", "quantity": 1}], ["/0/group"]),
    ],
)
def test_wrong_set_up_is_refused_field_by_field(server, path, body, expected):
    """Nothing is changed, and every field at fault is named."""
    assert pointers(server.put(f"/v1/{path}", body)) == expected


@pytest.mark.parametrize("path", ["locations/x", "skus", "safety-stock"])
def test_set_up_that_is_no_json_is_malformed(server, path):
    """Torn JSON is told apart from JSON that breaks rules."""
    response = server.client.put(f"/v1/{path}", content=b'{"name": ')
    problem(response, 400, "malformed_json")
