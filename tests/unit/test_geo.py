"""Distances, postal codes and the nearest stores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onhand.geo import Places, Point, distance_km
from onhand.model.setup import Location

NEW_YORK = Point(40.7484, -73.9967)
points = st.builds(Point, st.floats(-90, 90), st.floats(-180, 180))


def location(location_id, point=None, **fields):
    latitude, longitude = point or (None, None)
    body = {"name": location_id, "type": "store", "latitude": latitude, "longitude": longitude}
    return Location(id=location_id, **{**body, **fields})


def test_distance_follows_the_great_circle():
    """New York and Los Angeles are 3,940 km apart."""
    assert distance_km(NEW_YORK, Point(34.0522, -118.2437)) == pytest.approx(3_940, abs=10)


@given(points, points)
def test_distances_over_all_stores_equal_one_measured_alone(here, there):
    """The arranged computation and geopy agree to a millimetre."""
    (near,) = Places([location("a", there)]).nearest(here, limit=1)
    assert near.distance_km == pytest.approx(distance_km(here, there), abs=1e-6)


def test_nearest_are_listed_by_distance_then_id():
    """Locations come nearest first, equally distant ones by id, up to the limit."""
    places = Places(
        [
            location("far", Point(45, -73)),
            location("b", Point(41, -74)),
            location("a", Point(41, -74)),
            location("nowhere"),
            location("closed", NEW_YORK, enabled=False),
        ]
    )
    found = places.nearest(NEW_YORK, limit=10)
    assert [near.location.id for near in found] == ["a", "b", "far"]
    assert [near.location.id for near in places.nearest(NEW_YORK, limit=1)] == ["a"]
    assert len(places.nearest(NEW_YORK, limit=10, radius_km=100)) == 2


def test_only_what_is_asked_for_is_near():
    """Places without pickup, and other kinds of place, can be left out."""
    places = Places(
        [
            location("pickup", NEW_YORK),
            location("no-pickup", NEW_YORK, pickup=False),
            location("warehouse", NEW_YORK, type="warehouse"),
        ]
    )
    found = places.nearest(NEW_YORK, limit=9, pickup=True, kind="store")
    assert [near.location.id for near in found] == ["pickup"]


def test_nothing_is_near_without_places():
    """Without any placed location nothing is near, and nothing fails."""
    assert Places([]).nearest(NEW_YORK, limit=3) == []


def test_postal_code_of_a_location_decides():
    """A location's own postal code places it, spelled with any spaces and case, by country."""
    places = Places([location("a", Point(51.5, -0.1), postal_code="AB1 2c", country="GB")])
    assert places.find_postal_code("ab12C", "gb") == Point(51.5, -0.1)
    assert places.find_postal_code("AB1 2C") == Point(51.5, -0.1)
    assert places.find_postal_code("AB1 2C", "FR") is None


def test_zip_codes_of_the_united_states_are_known():
    """A US ZIP code is placed, also with its four more digits; elsewhere it means nothing."""
    places = Places([])
    assert distance_km(places.find_postal_code("10001"), NEW_YORK) < 5
    assert places.find_postal_code("10001-1234", "US") == places.find_postal_code("10001")
    assert places.find_postal_code("10001", "DE") is None


@pytest.mark.parametrize(
    "code", ["00000", "1000", "1000a", "\uff11\uff10\uff10\uff10\uff11", "", "-"]
)
def test_unknown_postal_code_has_no_place(code):
    """What is no known postal code has no place, and is no error."""
    assert Places([]).find_postal_code(code, "US") is None
