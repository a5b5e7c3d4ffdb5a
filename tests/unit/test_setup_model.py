"""Locations, SKUs and safety stock: the rules each keeps, and how errors name them."""

import msgspec
import pytest

from onhand.errors import InvalidInput
from onhand.model.setup import (
    Location,
    SafetyRule,
    Setup,
    Sku,
    location_document,
    parse_location,
    parse_safety_rules,
    parse_skus,
    unconfigured_location,
)

LEAST = {"name": "Main Street", "type": "store"}


def location(location_id, *groups, enabled=True):
    return Location(id=location_id, name="x", type="store", groups=groups, enabled=enabled)


def setup_of(*locations, skus=(), rules=()):
    return Setup(
        locations={each.id: each for each in locations},
        skus={each.sku: each for each in skus},
        safety_rules=tuple(rules),
    )


def errors_of(parse, *arguments):
    with pytest.raises(InvalidInput) as caught:
        parse(*arguments)
    return {error.pointer: error.detail for error in caught.value.errors}


def test_name_and_type_are_enough():
    """A location needs a name and a type; all else has the contract's defaults."""
    made = parse_location("store-1", LEAST)
    assert (made.id, made.enabled, made.pickup, made.ship) == ("store-1", True, True, True)
    assert (made.timezone, made.opening_hours, made.daily_capacity) == ("UTC", None, None)
    assert (made.pickup_days, made.groups) == (7, ())


def test_every_field_is_taken():
    """A location with every field survives being written and read."""
    body = {
        **LEAST,
        "id": "store-1",
        "latitude": 40.7,
        "longitude": -74,
        "postal_code": "10001",
        "country": "us",
        "timezone": "America/New_York",
        "opening_hours": {"mon": [["09:00", "24:00"]], "exceptions": {"2026-12-25": []}},
        "pickup": False,
        "ship": False,
        "groups": ["online", "all", "west", "online"],
        "priority": -3,
        "handling_cost": 1,
        "daily_capacity": 0,
        "cutoff": "14:30",
        "pickup_days": 3,
        "enabled": False,
    }
    made = parse_location("store-1", body)
    assert made.country == "US"
    assert made.groups == ("online", "west")
    assert parse_location("store-1", msgspec.json.decode(msgspec.json.encode(made))) == made


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "must be string of length >= 1"),
        ("name", None, "must be string, got null"),
        ("name", "a\x00b", "printable"),
        ("type", "shop", "must be one of store, warehouse, supplier"),
        ("latitude", 90.1, "must be number <= 90"),
        ("longitude", -181, "must be number >= -180"),
        ("country", "USA", "ISO 3166"),
        ("timezone", "Mars/Olympus", "IANA"),
        ("timezone", "America", "IANA"),
        ("timezone", "../etc/passwd", "IANA"),
        ("cutoff", "24:00", "HH:MM"),
        ("cutoff", "9:00", "HH:MM"),
        ("priority", 1.5, "must be integer, got number"),
        ("priority", True, "must be integer, got boolean"),
        ("handling_cost", -0.01, "must be number >= 0"),
        ("daily_capacity", -1, "must be integer >= 0"),
        ("daily_capacity", 2**31, "must be integer <= 2147483647"),
        ("pickup_days", 0, "must be integer >= 1"),
        ("enabled", "yes", "must be boolean, got string"),
        ("groups", "online", "must be array, got string"),
        ("colour", "red", "is no known field"),
        ("id", "other", "must be left out or 'store-1'"),
    ],
)
def test_wrong_field_is_named_with_its_rule(field, value, said):
    """A field that breaks a rule is pointed at, and the rule told in terms of JSON."""
    errors = errors_of(parse_location, "store-1", {**LEAST, field: value})
    assert said in errors[f"/{field}"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**LEAST, "groups": ["a", ""]}, "/groups/1"),
        ({**LEAST, "groups": ["a\n"]}, "/groups/0"),
        ({**LEAST, "latitude": 1.0}, "/longitude"),
        ({**LEAST, "longitude": 1.0}, "/latitude"),
        ({**LEAST, "opening_hours": {"mon": [["09:00", "08:00"]]}}, "/opening_hours/mon/0"),
        ({**LEAST, "opening_hours": {"mon": [["09:00", "25:00"]]}}, "/opening_hours/mon/0/1"),
        ({**LEAST, "opening_hours": {"monday": []}}, "/opening_hours/monday"),
        ({**LEAST, "a/b~c": 1}, "/a~1b~0c"),
        ({"name": "x"}, "/type"),
        ([], ""),
    ],
)
def test_error_points_at_the_place(body, pointer):
    """The pointer of an error leads to the value, however deep."""
    assert list(errors_of(parse_location, "store-1", body)) == [pointer]


@pytest.mark.parametrize("location_id", ["", "x" * 65, "tab\there", "line\n"])
def test_id_of_a_location_is_short_and_printable(location_id):
    """A location's id is 1-64 printable characters."""
    assert "/id" in errors_of(parse_location, location_id, LEAST)


def test_all_errors_are_named_at_once():
    """Every wrong, missing and unknown field is in one answer."""
    errors = errors_of(parse_location, "store-1", {"type": "x", "priority": "y", "zzz": 1})
    assert sorted(errors) == ["/name", "/priority", "/type", "/zzz"]


def test_number_that_is_none_is_refused():
    """Not-a-number, which files other than JSON can hold, is no coordinate or cost."""
    errors = errors_of(lambda: Location(id="a", name="a", type="store", handling_cost=float("nan")))
    assert list(errors) == ["/handling_cost"]


def test_groups_hold_enabled_locations_only():
    """A group lists its enabled locations; all lists every enabled one, and always exists."""
    found = setup_of(
        location("b", "west"), location("a", "west", "online"), location("c", "east", enabled=False)
    ).groups()
    assert found == {"all": ("a", "b"), "west": ("a", "b"), "online": ("a",), "east": ()}
    assert Setup().groups() == {"all": ()}


def test_document_says_whether_a_location_was_set_up():
    """Locations that only events have named are listed as not configured."""
    assert location_document(location("a"))["configured"] is True
    listed = location_document(unconfigured_location("b"), configured=False)
    assert (listed["id"], listed["enabled"], listed["latitude"]) == ("b", True, None)
    assert listed["configured"] is False


def test_listed_location_can_be_put_back():
    """What a server lists is a body that it takes."""
    made = location("a", "west")
    assert parse_location("a", location_document(made)) == made


def test_skus_are_judged_one_by_one():
    """Each wrong SKU of a list is named by its place."""
    assert parse_skus([{"sku": "a", "category": "c", "unit": "kg", "name": "A"}, {"sku": "b"}])
    errors = errors_of(parse_skus, [{"sku": ""}, 3, {"sku": "a", "colour": "red"}, {}])
    assert sorted(errors) == ["/0/sku", "/1", "/2/colour", "/3/sku"]
    assert errors_of(parse_skus, [{"sku": "a"}, {"sku": "a"}]) == {
        "/1/sku": "stands in this list before"
    }
    assert errors_of(parse_skus, {"sku": "a"}) == {"": "must be an array"}


def test_judging_a_long_list_ends_early():
    """A list that is wrong everywhere is not judged to its end."""
    assert len(errors_of(parse_skus, [{}] * 100_000)) <= 100


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"quantity": 1}, "/0"),
        ({"sku": "a"}, "/0/quantity"),
        ({"sku": "a", "category": "c", "quantity": 1}, "/0/category"),
        ({"location": "l", "group": "g", "quantity": 1}, "/0/group"),
        ({"sku": "a", "quantity": 1.5}, "/0/quantity"),
        ({"sku": "a", "quantity": 2**31}, "/0/quantity"),
        ({"sku": "a", "quantity": -(2**31)}, "/0/quantity"),
        ({"sku": "", "quantity": 1}, "/0/sku"),
        ({"group": "unknown", "quantity": 1}, "/0/group"),
    ],
)
def test_wrong_safety_rule_is_refused(rule, pointer):
    """A rule that names nothing, names a thing twice, or names an unknown group is refused."""
    assert list(errors_of(parse_safety_rules, [rule], setup_of(location("a", "g")))) == [pointer]


def test_two_rules_on_the_same_are_refused():
    """Rules that name the same would leave the number to chance."""
    rules = [{"sku": "a", "quantity": 1}, {"sku": "a", "quantity": 2}]
    assert list(errors_of(parse_safety_rules, rules, Setup())) == ["/1"]


def test_rules_may_come_before_what_they_name():
    """A rule may name a SKU, category or location not seen yet, and the group all."""
    rules = [
        {"sku": "a", "location": "l", "quantity": -5},
        {"category": "c", "quantity": 2},
        {"group": "all", "quantity": 1},
    ]
    assert len(parse_safety_rules(rules, Setup())) == 3


PRECEDENCE = [
    {"sku": "s", "location": "l"},
    {"sku": "s", "group": "g"},
    {"sku": "s"},
    {"category": "c", "location": "l"},
    {"category": "c", "group": "g"},
    {"category": "c"},
    {"location": "l"},
    {"group": "g"},
]


@pytest.mark.parametrize("first", range(len(PRECEDENCE)))
def test_nearer_safety_rule_decides(first):
    """Of the rules that apply, the first in the contract's order decides."""
    rules = [
        SafetyRule(quantity=index, **scope)
        for index, scope in enumerate(PRECEDENCE)
        if index >= first
    ]
    given = setup_of(location("l", "g"), skus=[Sku(sku="s", category="c")], rules=rules[::-1])
    assert given.safety_stock("s", "l") == first


def test_smaller_group_decides_then_its_name():
    """Between groups the one with fewer enabled locations decides, then the smaller name."""
    rules = [SafetyRule(group=name, quantity=number) for number, name in enumerate("wxyz", start=1)]
    locations = [location("l", *"wxyz"), location("m", *"wx"), location("n", "w", enabled=False)]
    assert setup_of(*locations, rules=rules).safety_stock("s", "l") == 3


def test_group_all_counts_places_never_set_up():
    """Locations known only from events make the group all larger, never a named group."""
    rules = [SafetyRule(group="all", quantity=1), SafetyRule(group="west", quantity=2)]
    given = setup_of(location("l", "west"), rules=rules)
    assert given.safety_stock("s", "l") == 1
    assert given.safety_stock("s", "l", unconfigured_count=1) == 2


def test_disabled_location_follows_no_group():
    """A disabled location is in no group, so only rules on itself or on no place apply to it."""
    rules = [SafetyRule(group="all", quantity=1), SafetyRule(group="g", quantity=2)]
    closed = location("l", "g", enabled=False)
    assert setup_of(closed, rules=rules).safety_stock("s", "l") == 0
    own = SafetyRule(location="l", quantity=3)
    assert setup_of(closed, rules=[*rules, own]).safety_stock("s", "l") == 3


def test_location_never_set_up_is_in_all_only():
    """A location that only events have named follows rules on all and on no place."""
    rules = [SafetyRule(group="all", quantity=1), SafetyRule(sku="s", quantity=2)]
    assert Setup(safety_rules=tuple(rules)).safety_stock("t", "new") == 1
    assert Setup(safety_rules=tuple(rules)).safety_stock("s", "new") == 2
    assert Setup().safety_stock("s", "new") == 0
