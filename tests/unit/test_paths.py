"""Ids with slashes are one step of a path, and the words after them are found."""

import pytest

from onhand.web.paths import one_step_an_id


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/orders/web-1", "/v1/orders/web-1"),
        ("GET", "/v1/orders/a/b", "/v1/orders/a%2Fb"),
        ("GET", "/v1/orders/a/b/explain", "/v1/orders/a%2Fb/explain"),
        ("GET", "/v1/orders/explain", "/v1/orders/explain"),
        ("GET", "/v1/orders/a/cancel", "/v1/orders/a%2Fcancel"),
        ("POST", "/v1/orders/a/cancel", "/v1/orders/a/cancel"),
        ("POST", "/v1/orders/a/cancel/cancel", "/v1/orders/a%2Fcancel/cancel"),
        ("POST", "/v1/orders", "/v1/orders"),
        ("POST", "/v1/tasks/a/b.t1/pick", "/v1/tasks/a%2Fb.t1/pick"),
        ("GET", "/v1/tasks/a.t1/pick", "/v1/tasks/a.t1/pick"),
        ("DELETE", "/v1/holds/a/b", "/v1/holds/a%2Fb"),
        ("POST", "/v1/holds/a/extend", "/v1/holds/a/extend"),
        ("GET", "/v1/locations/a/b/tasks", "/v1/locations/a%2Fb/tasks"),
        ("PUT", "/v1/locations/a/tasks", "/v1/locations/a%2Ftasks"),
        ("GET", "/v1/availability/a/b/nearby", "/v1/availability/a%2Fb/nearby"),
        ("GET", "/v1/availability/100%", "/v1/availability/100%25"),
        ("GET", "/metrics", "/metrics"),
    ],
)
def test_an_id_is_one_step(method, path, expected):
    """What is decoded is quoted again; what is no id stays."""
    assert one_step_an_id(method, path) == expected
