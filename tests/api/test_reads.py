"""Reads over HTTP, answered by a real server from a real table."""

import json

import pytest

from tests.servers import Server, pointers, problem

READ = "/v1/availability/"
QUERY = "/v1/availability/query"
NUMBERS = ("available", "on_hand", "held", "in_transit", "reserved", "safety_stock", "shortfall")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("reads"))
    for sku, location, on_hand in (
        ("apple", "north", 7),
        ("apple", "south", 3),
        ("pear", "north", 2),
        ("a/b c?", "north", 1),
        ("query", "north", 4),
        ("café \U0001f34f", "north", 5),
    ):
        server.kit.add(sku, location, on_hand=on_hand)
    server.publish()
    server.start()
    put_up = server.put(
        "/v1/locations/north",
        {
            "name": "North",
            "type": "store",
            "groups": ["cold"],
            "latitude": 60.0,
            "longitude": 25.0,
            "postal_code": "00100",
            "country": "FI",
        },
    )
    assert put_up.status_code == 201
    south = {"name": "South", "type": "store", "latitude": 40.0, "longitude": 25.0, "pickup": False}
    assert server.put("/v1/locations/south", south).status_code == 201
    depot = {"name": "Depot", "type": "warehouse", "latitude": 60.0, "longitude": 25.0}
    assert server.put("/v1/locations/depot", depot).status_code == 201
    yield server
    server.close()


def numbers(answer):
    return {name: answer[name] for name in NUMBERS}


def test_a_read_sums_every_enabled_location(server):
    """Without parameters the scope is the group of all, and the answer says how fresh it is."""
    response = server.get(READ + "apple")
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert answer["scope"] == "group:all"
    assert answer["available"] == answer["on_hand"] == 10
    assert answer["band"] == "in"
    assert answer["as_of"].endswith("Z")
    assert answer["age_ms"] >= 0
    assert answer["available_to_order"][0]["quantity"] == 10


@pytest.mark.parametrize(
    ("parameters", "scope", "available"),
    [
        ({"location": "south"}, "location:south", 3),
        ({"group": "cold"}, "group:cold", 7),
        ({"location": "depot"}, "location:depot", 0),
    ],
)
def test_a_read_looks_where_it_is_told(server, parameters, scope, available):
    """A location, a group, and a place that never had the SKU."""
    answer = server.get(READ + "apple", params=parameters).json()
    assert (answer["scope"], answer["available"]) == (scope, available)


def test_detail_lists_the_locations(server):
    """With detail, the cells behind a group's numbers stand beside them."""
    answer = server.get(READ + "apple", params={"detail": "locations"}).json()
    assert {each["location"]: each["available"] for each in answer["locations"]} == {
        "north": 7,
        "south": 3,
    }


@pytest.mark.parametrize("sku", ["a%2Fb%20c%3F", "caf%C3%A9%20%F0%9F%8D%8F"])
def test_any_sku_is_read_when_quoted(server, sku):
    """Slashes, spaces and other scripts are part of a SKU."""
    assert server.get(READ + sku).status_code == 200
    assert server.get(f"{READ}{sku}/explain?location=north").status_code == 200
    assert server.get(f"{READ}{sku}/nearby?latitude=60&longitude=25").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nothing", 404, "unknown_sku"),
        ("x" * 300, 404, "unknown_sku"),
        ("apple?location=west", 404, "unknown_location"),
        ("apple?group=west", 404, "unknown_group"),
        ("nothing/nearby?latitude=60&longitude=25", 404, "unknown_sku"),
        ("apple/nearby?postal_code=99999&country=FI", 404, "unknown_postal_code"),
        ("nothing/explain?location=north", 404, "unknown_sku"),
        ("apple/explain?location=west", 404, "unknown_location"),
        ("stream?skus=apple&group=west", 404, "unknown_group"),
    ],
)
def test_what_nobody_knows_is_a_404_that_says_what(server, path, status, code):
    """SKU, location, group and postal code each have a code of their own."""
    problem(server.get(READ + path), status, code)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("apple?location=north&group=cold", ["/group"]),
        ("apple?detail=everything", ["/detail"]),
        ("apple?detail=null", ["/detail"]),
        ("apple/nearby?latitude=null&longitude=1", ["/latitude"]),
        ("apple?location=", ["/location"]),
        ("apple?location=" + "x" * 65, ["/location"]),
        ("apple?place=north&colour=red", ["/colour", "/place"]),
        ("apple?location=north&location=south", ["/location"]),
        ("apple?location=%FF", ["/location"]),
        ("apple/nearby", ["/latitude"]),
        ("apple/nearby?latitude=60", ["/longitude"]),
        ("apple/nearby?latitude=91&longitude=x", ["/latitude", "/longitude"]),
        ("apple/nearby?latitude=60&longitude=25&limit=0", ["/limit"]),
        ("apple/nearby?latitude=60&longitude=25&radius_km=-1", ["/radius_km"]),
        ("apple/nearby?latitude=60&longitude=25&pickup=maybe", ["/pickup"]),
        ("apple/nearby?latitude=nan&longitude=25", ["/latitude"]),
        ("apple/explain", ["/location"]),
        ("apple/explain?location=north&cursor=x", ["/cursor"]),
        ("apple/explain?location=north&limit=1000", ["/limit"]),
        ("stream", ["/skus"]),
        ("stream?skus=,", ["/skus"]),
        ("stream?skus=" + ",".join(map(str, range(1_001))), ["/skus"]),
    ],
)
def test_a_wrong_parameter_is_named(server, path, expected):
    """Every parameter at fault is in the problem's errors."""
    assert pointers(server.get(READ + path)) == expected


def test_a_query_answers_for_each_sku_and_scope(server):
    """Items carry the numbers of a single read; unknown SKUs are listed apart."""
    answer = server.post(QUERY, {"skus": ["apple", "nothing", "pear"], "group": "cold"}).json()
    assert answer["unknown"] == ["nothing"]
    for item in answer["items"]:
        single = server.get(READ + item["sku"], params={"group": "cold"}).json()
        assert numbers(item) == numbers(single)
        assert item["scope"] == "group:cold"
    places = server.post(QUERY, {"skus": ["apple"], "locations": ["south", "north"]}).json()
    found = {each["scope"]: each["available"] for each in places["items"]}
    assert found == {"location:south": 3, "location:north": 7}


def test_a_sku_with_the_name_of_a_route_is_read_by_a_query(server):
    """``query`` cannot be read by its path, and is not lost."""
    (item,) = server.post(QUERY, {"skus": ["query"]}).json()["items"]
    assert item["on_hand"] == 4


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ["/skus"]),
        ({"skus": []}, ["/skus"]),
        ({"skus": ["x"] * 5_001}, ["/skus"]),
        ({"skus": [1]}, ["/skus/0"]),
        ({"skus": [""]}, ["/skus/0"]),
        ({"skus": ["apple"], "locations": []}, ["/locations"]),
        ({"skus": ["apple"], "locations": ["north"], "group": "cold"}, ["/group"]),
        ({"skus": ["apple"], "limit": 3, "order": "asc"}, ["/limit", "/order"]),
        ({"skus": "apple", "group": 3}, ["/group", "/skus"]),
        ({"skus": ["x"] * 5_000, "locations": ["north"] * 21}, ["/locations"]),
        (["apple"], [""]),
        ("apple", [""]),
    ],
)
def test_a_wrong_query_is_refused_field_by_field(server, body, expected):
    """Missing, empty, too long, unknown and wrongly typed fields are each named."""
    assert pointers(server.post(QUERY, body)) == expected


@pytest.mark.parametrize("body", [b"", b"{", b'{"skus":["\xff"]}', b"[" * 100_000])
def test_a_query_that_is_no_json_is_malformed(server, body):
    """Empty, torn, not UTF-8 or nested without end: the same problem."""
    problem(server.client.post(QUERY, content=body), 400, "malformed_json")


def test_a_query_names_the_scope_that_nobody_knows(server):
    """One unknown location refuses the query and is named."""
    response = server.post(QUERY, {"skus": ["apple"], "locations": ["north", "west"]})
    assert "west" in problem(response, 404, "unknown_location")["detail"]
    problem(server.post(QUERY, {"skus": ["apple"], "group": "west"}), 404, "unknown_group")


def test_stores_near_a_place_come_by_distance(server):
    """Only stores, nearest first, with what is available and when it can be collected."""
    near = server.get(READ + "apple/nearby", params={"latitude": 59, "longitude": 25}).json()
    assert [each["location"] for each in near["items"]] == ["north", "south"]
    assert [each["available"] for each in near["items"]] == [7, 3]
    assert near["items"][0]["distance_km"] == pytest.approx(111.2, abs=0.3)
    assert near["items"][0]["ready_by"] is not None
    assert near["items"][1]["ready_by"] is None  # It hands over no orders.


def test_stores_near_can_be_narrowed(server):
    """A radius, a limit, pickup and a postal code each leave out what they should."""
    path = READ + "apple/nearby"
    for parameters in (
        {"latitude": 59, "longitude": 25, "radius_km": 500},
        {"latitude": 59, "longitude": 25, "limit": 1},
        {"latitude": 59, "longitude": 25, "pickup": "true"},
        {"postal_code": "00100", "country": "fi", "radius_km": 1},
    ):
        items = server.get(path, params=parameters).json()["items"]
        assert [each["location"] for each in items] == ["north"], parameters


def test_nothing_to_collect_is_ready_never(server):
    """A store without the SKU is listed, and has no time at which it is ready."""
    near = server.get(READ + "pear/nearby", params={"latitude": 40, "longitude": 25}).json()
    (south,) = [each for each in near["items"] if each["location"] == "south"]
    assert (south["available"], south["ready_by"]) == (0, None)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", READ + "apple", 405, "method_not_allowed"),
        ("DELETE", QUERY, 405, "method_not_allowed"),
        ("PUT", "/v1/events", 405, "method_not_allowed"),
        ("GET", "/v1/events", 405, "method_not_allowed"),
        ("GET", "/v2/availability/apple", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", READ, 404, "unknown_sku"),
    ],
)
def test_other_paths_and_methods_are_problems_too(server, method, path, status, code):
    """Whatever is asked, the answer is of one form; 405 says what would do."""
    response = server.client.request(method, path)
    problem(response, status, code)
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (READ + "apple", "GET, OPTIONS"),
        (QUERY, "OPTIONS, POST"),
        ("/v1/orders", "GET, OPTIONS, POST"),
        ("/v1/customers/x", "DELETE, GET, OPTIONS"),
    ],
)
def test_options_list_every_method_of_a_path(server, path, allow):
    """Also of a path that several routes share; 405 lists the same."""
    response = server.client.request("OPTIONS", path)
    assert (response.status_code, response.headers["allow"]) == (204, allow)
    refused = server.client.request("PATCH", path)
    assert sorted(refused.headers["allow"].split(", ")) == allow.split(", ")


def test_a_body_over_the_limit_is_refused(server):
    """Announced or in chunks, a body over 1 MiB is a 413."""
    large = b"x" * ((1 << 20) + 1)
    problem(server.client.post(QUERY, content=large), 413, "body_too_large")
    chunks = (large[start : start + 65_536] for start in range(0, len(large), 65_536))
    problem(server.client.post(QUERY, content=chunks), 413, "body_too_large")
    problem(server.client.put("/v1/skus", content=large), 413, "body_too_large")
    problem(server.client.put("/v1/skus", content=large * 10), 413, "body_too_large")


def test_a_chunked_body_is_read(server):
    """A body that announces no length works like any other."""
    body = json.dumps({"skus": ["apple"]}).encode()
    response = server.client.post(QUERY, content=iter([body[:5], body[5:]]))
    assert response.json()["items"][0]["available"] == 10
