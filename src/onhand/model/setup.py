"""Locations, SKUs and safety stock: what an operator sets up, and the rules each must keep.

Structs are frozen and judge themselves when made, so one that exists is valid. Use
:func:`parse_location`, :func:`parse_skus` and :func:`parse_safety_rules` on outside data: they
name every field that breaks a rule.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from onhand.errors import FieldError, InvalidInput
from onhand.model.hours import ClockTime, OpeningHours
from onhand.model.return_policy import ReturnPolicy
from onhand.model.validate import Text64, build, check, pattern, prefixed, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL: Final = "all"
"""The group that always exists and holds every enabled location."""

INT32_MAX: Final = 2_147_483_647

ERROR_COUNT_MAX: Final = 100
"""Errors of one list after which judging stops: the rest would say the same."""

Item = TypeVar("Item", bound=Struct)

LocationType = Literal["store", "warehouse", "supplier"]
Count32 = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Signed32 = Annotated[int, Meta(ge=-INT32_MAX, le=INT32_MAX)]


class Location(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store, warehouse or supplier. Only ``id``, ``name`` and ``type`` have no default."""

    id: Text64
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    type: LocationType
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    postal_code: Annotated[str, Meta(min_length=1, max_length=16)] | None = None
    country: Annotated[str, pattern(r"^[A-Za-z]{2}$", "an ISO 3166 code of two letters")] | None = (
        None
    )
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    opening_hours: OpeningHours | None = None
    pickup: bool = True
    ship: bool = True
    groups: Annotated[tuple[Text64, ...], Meta(max_length=100)] = ()
    priority: Signed32 = 0
    handling_cost: Annotated[float, Meta(ge=0)] = 0.0
    daily_capacity: Count32 | None = None
    cutoff: ClockTime | None = None
    pickup_days: Annotated[int, Meta(ge=1, le=365)] = 7
    enabled: bool = True

    def __post_init__(self) -> None:
        """Check what types cannot state, and write groups and country in one way.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        check("not a valid location", _location_errors(self))
        # Naming `all` changes nothing: every enabled location is in it.
        groups = tuple(dict.fromkeys(group for group in self.groups if group != ALL))
        force_setattr(self, "groups", groups)
        if self.country is not None:
            force_setattr(self, "country", self.country.upper())

    @property
    def zone(self) -> ZoneInfo:
        """The location's time zone."""
        return ZoneInfo(self.timezone)


class Sku(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a SKU beside its stock."""

    sku: Text64
    category: Text64 | None = None
    unit: Text64 | None = None
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None

    def __post_init__(self) -> None:
        """Check that ids are printable.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        errors = [*printable("/sku", self.sku), *printable("/category", self.category)]
        check("not a valid SKU", errors)


class SafetyRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many units of the cells it names are never promised; below 0, promised beyond stock.

    A rule on a group applies to each cell of the group, not to their sum.
    """

    quantity: Signed32
    sku: Text64 | None = None
    category: Text64 | None = None
    location: Text64 | None = None
    group: Text64 | None = None

    def __post_init__(self) -> None:
        """Check that the rule names something, and names it once.

        Raises
        ------
        InvalidInput
            Naming each field and rule.
        """
        check("not a valid safety stock rule", _safety_rule_errors(self))

    @property
    def scope(self) -> tuple[str | None, str | None, str | None, str | None]:
        """What the rule names; two rules must not share it."""
        return (self.sku, self.category, self.location, self.group)

    @property
    def precedence(self) -> int:
        """Rank among the rules that apply to a cell, 0 first."""
        place = 0 if self.location is not None else 1 if self.group is not None else 2
        if self.sku is not None:
            return place
        return 3 + place if self.category is not None else 6 + place


class Setup(Struct, frozen=True, kw_only=True):
    """Everything set up, as of one version of the ledger."""

    version: int = 0
    locations: dict[str, Location] = {}
    skus: dict[str, Sku] = {}
    safety_rules: tuple[SafetyRule, ...] = ()
    return_policy: ReturnPolicy = ReturnPolicy()

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Name the enabled locations of every group, sorted; ``all`` included.

        Locations that only events have named belong to ``all`` too; a caller that knows them
        adds them.
        """
        members: dict[str, list[str]] = defaultdict(list)
        members[ALL] = []
        for location in sorted(self.locations.values(), key=lambda each: each.id):
            for group in (ALL, *location.groups):
                if location.enabled:
                    members[group].append(location.id)
                else:
                    # A group whose places are all closed is empty, not unknown.
                    members.setdefault(group, [])
        return {group: tuple(ids) for group, ids in members.items()}

    def safety_stock(self, sku: str, location: str, *, unconfigured_count: int = 0) -> int:
        """Decide one cell's safety stock; the definition that compiled forms must equal.

        Precedence: sku+location, sku+group, sku, category+location, category+group, category,
        location, group. Ties between groups go to the one with fewer locations, then by name.

        Parameters
        ----------
        unconfigured_count
            Locations that only events have named; they count to the size of ``all``.
        """
        groups = self.groups()
        sizes = {name: len(ids) for name, ids in groups.items()}
        sizes[ALL] += unconfigured_count
        known = self.skus.get(sku)
        category = known.category if known is not None else None
        mine = self._groups_of(location)
        applicable = [
            (rule.precedence, sizes.get(rule.group or "", 0), rule.group or "", rule.quantity)
            for rule in self.safety_rules
            if rule.sku in (None, sku)
            and (rule.category is None or rule.category == category)
            and rule.location in (None, location)
            and (rule.group is None or rule.group in mine)
        ]
        return min(applicable)[3] if applicable else 0

    def _groups_of(self, location: str) -> tuple[str, ...]:
        configured = self.locations.get(location)
        if configured is None:
            return (ALL,)
        return (ALL, *configured.groups) if configured.enabled else ()


def parse_location(
    location_id: str, body: object, *, pointer: str = "", what: str = "not a valid location"
) -> Location:
    """Judge the body of ``PUT /v1/locations/{id}``.

    The body may repeat the id, if it is the same, and ``configured``, which is ignored: what
    ``GET /v1/locations`` lists can be changed and put back.

    Raises
    ------
    InvalidInput
        Naming each field and rule.
    """
    if isinstance(body, dict) and "id" in body and body["id"] != location_id:
        error = FieldError(f"{pointer}/id", f"must be left out or {location_id!r}, as in the path")
        raise InvalidInput(what, (error,))
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "configured"}
        body["id"] = location_id
    return build(Location, body, pointer=pointer, what=what)


def parse_skus(body: object) -> tuple[Sku, ...]:
    """Judge the body of ``PUT /v1/skus``, an array in which a SKU stands once.

    Raises
    ------
    InvalidInput
        Naming each item, field and rule.
    """
    what = "not valid SKUs"
    skus = _build_all(Sku, body, what)
    check(what, _repeated(((each.sku,) for each in skus), "/sku", "stands in this list before"))
    return tuple(skus)


def parse_safety_rules(body: object, setup: Setup) -> tuple[SafetyRule, ...]:
    """Judge the body of ``PUT /v1/safety-stock``.

    A rule may be about a SKU, category or location not seen yet. A group exists only because
    locations name it, so a rule on an unknown one is a slip and refused.

    Raises
    ------
    InvalidInput
        Naming each rule, field and what it breaks.
    """
    what = "not valid safety stock"
    rules = _build_all(SafetyRule, body, what)
    errors = _repeated((rule.scope for rule in rules), "", "names the same as a rule before it")
    groups = setup.groups()
    errors += [
        FieldError(f"/{index}/group", f"no location is in a group {rule.group!r}; set it up first")
        for index, rule in enumerate(rules)
        if rule.group is not None and rule.group not in groups
    ]
    check(what, errors)
    return tuple(rules)


def location_document(location: Location, *, configured: bool = True) -> dict[str, Any]:
    """Write a location as ``GET /v1/locations`` lists it."""
    document: dict[str, Any] = msgspec.to_builtins(location)
    document["configured"] = configured
    return document


def unconfigured_location(location_id: str) -> Location:
    """Describe a location that only events have named: enabled, in ``all`` only, no coordinates."""
    return Location(id=location_id, name=location_id, type="store")


def _location_errors(location: Location) -> list[FieldError]:
    errors = [*printable("/id", location.id), *printable("/name", location.name)]
    errors += printable("/postal_code", location.postal_code)
    for index, group in enumerate(location.groups):
        errors += printable(f"/groups/{index}", group)
    if (location.latitude is None) != (location.longitude is None):
        missing = "latitude" if location.latitude is None else "longitude"
        errors.append(FieldError(f"/{missing}", "is required when the other coordinate is given"))
    for name in ("latitude", "longitude", "handling_cost"):
        number = getattr(location, name)
        if number is not None and not math.isfinite(number):
            errors.append(FieldError(f"/{name}", "must be a finite number"))
    if not _is_timezone(location.timezone):
        errors.append(FieldError("/timezone", "must be an IANA time zone such as America/New_York"))
    return errors


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        # Besides unknown names, a folder of the zone database or a path out of it.
        return False
    return True


def _safety_rule_errors(rule: SafetyRule) -> list[FieldError]:
    errors = []
    for name in ("sku", "category", "location", "group"):
        errors += printable(f"/{name}", getattr(rule, name))
    if rule.sku is not None and rule.category is not None:
        errors.append(FieldError("/category", "must be left out when sku is given"))
    if rule.location is not None and rule.group is not None:
        errors.append(FieldError("/group", "must be left out when location is given"))
    if rule.scope == (None, None, None, None):
        errors.append(FieldError("", "must name a sku, category, location or group"))
    return errors


def _build_all(kind: type[Item], body: object, what: str) -> list[Item]:
    if not isinstance(body, list):
        raise InvalidInput(what, (FieldError("", "must be an array"),))
    built: list[Item] = []
    errors: list[FieldError] = []
    for index, item in enumerate(body):
        try:
            built.append(build(kind, item))
        except InvalidInput as error:
            errors += prefixed(error.errors, f"/{index}")
            if len(errors) >= ERROR_COUNT_MAX:
                break
    check(what, errors)
    return built


def _repeated(keys: Iterable[tuple[Any, ...]], field: str, rule: str) -> list[FieldError]:
    seen = set()
    errors = []
    for index, key in enumerate(keys):
        if key in seen:
            errors.append(FieldError(f"/{index}{field}", rule))
        seen.add(key)
    return errors
