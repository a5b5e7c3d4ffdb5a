"""Groups and safety stock, compiled for one table into columns that a scan can use.

Locations get a SLOT per table: those the table knows their number there, then one slot for "none
of these", then the rest. Safety stock becomes PROFILES, a column of quantities by slot each: number
0 for SKUs without rules of their own or their category's, one for each category with rules, one for
each different set of rules on a SKU alone or on a SKU and groups. Rules on a SKU and a location
stand apart, as overrides: such a SKU is a SPECIAL.

The definition of what must come out is ``Setup.safety_stock``; a test holds the two together.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from onhand.model.setup import ALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from onhand.model.setup import SafetyRule, Setup

INT32_MAX = 2_147_483_647
NOWHERE = 4_294_967_295
"""The number of a location that a table does not know."""


class Place(msgspec.Struct):
    """What set-up says of all locations together, before any table is looked at.

    ``ordinals`` numbers every location that set-up or a table knows; ``members`` holds, by group,
    the ordinals of its locations; ``days`` is today by ordinal, in days since 1970-01-01.
    """

    ordinals: dict[str, int]
    members: dict[str, list[int]]
    days: list[int]
    today_utc: int

    def move_to(self, days: Mapping[str, int], setup: Setup) -> None:
        """Take over today by time zone."""
        zones = {name: location.timezone for name, location in setup.locations.items()}
        self.days = [days[zones.get(name, "UTC")] for name in self.ordinals]
        self.today_utc = days["UTC"]


class ShardScopes(msgspec.Struct):
    """The columns of one table that ``onhand._native.view`` reads; see ``reader.h``."""

    known_count: int
    slot_count: int
    slot_of: NDArray[np.uint32]
    names: bytes
    name_at: NDArray[np.uint32]
    today: NDArray[np.int32]
    today_utc: int
    labels: list[bytes]
    member: NDArray[np.int32]
    threshold: NDArray[np.int32]
    safety: NDArray[np.int32]
    safety_total: NDArray[np.int64]
    negative_total: NDArray[np.int64]
    specials: NDArray[np.uint32]
    override_slot: NDArray[np.uint32]
    override_quantity: NDArray[np.int32]
    member_slots: list[NDArray[np.uint32]]
    member_place: list[NDArray[np.uint32]]
    demand_slot_of: NDArray[np.uint32]
    demand_number_of: NDArray[np.uint32]
    profile_of: NDArray[np.uint32] | None = None
    sku_count: int = 0


def compile_place(setup: Setup, known: Iterable[str], days: Mapping[str, int]) -> Place:
    """Give all locations numbers and list the groups.

    Parameters
    ----------
    known
        Locations that tables know; those that set-up does not know are in ``all`` only.
    days
        Today by time zone, in days since 1970-01-01; UTC included.
    """
    names = dict.fromkeys([*setup.locations, *known])
    ordinals = {name: ordinal for ordinal, name in enumerate(names)}
    members = {group: [ordinals[name] for name in ids] for group, ids in setup.groups().items()}
    members[ALL] += [ordinals[name] for name in names if name not in setup.locations]
    place = Place(ordinals, members, [], 0)
    place.move_to(days, setup)
    return place


class ScopeCompiler:
    """Compiles for one table.

    Parameters
    ----------
    setup
        Locations, SKUs and rules.
    place
        All locations, from :func:`compile_place`.
    known
        The table's locations, by number.
    """

    def __init__(self, setup: Setup, place: Place, known: Sequence[str]) -> None:
        self._setup = setup
        self._place = place
        self._known = known
        here = set(known)
        elsewhere = [name for name in place.ordinals if name not in here]
        self._slots = {name: slot for slot, name in enumerate([*known, None, *elsewhere]) if name}
        self._slot_count = len(known) + 1 + len(elsewhere)
        self._members = self._member_columns()
        sizes = {group: len(ordinals) for group, ordinals in place.members.items()}
        # What stands last wins where groups overlap: the smaller, then the first by name.
        self._by_weight = sorted(sizes, key=lambda group: (sizes[group], group), reverse=True)
        self._rules = _by_subject(setup.safety_rules)
        self._profiles: list[NDArray[np.int32]] = []
        self._profile_numbers: dict[tuple[object, ...], int] = {}
        self._category_profiles: dict[str, int] = {}
        self._specials: list[tuple[int, int, int]] = []
        self._overrides: list[tuple[int, int]] = []
        self._sku_profiles: dict[str, int] = {}

    def compile(self) -> ShardScopes:
        """Return the columns; which SKU has which profile is left to :meth:`profile`."""
        self._compile_profiles()
        member = np.stack(list(self._members.values()))
        safety = np.stack(self._profiles)
        inside = member.astype(np.int64) * -1
        names, name_at = self._names()
        overrides = np.array(self._overrides, np.int64).reshape(-1, 2)
        member_slots = [self._slots_of(ids) for ids in self._place.members.values()]
        return ShardScopes(
            known_count=len(self._known),
            slot_count=self._slot_count,
            slot_of=np.array([self._slots[name] for name in self._place.ordinals], np.uint32),
            names=names,
            name_at=name_at,
            today=self.days(self._place),
            today_utc=self._place.today_utc,
            labels=[_escaped(f"group:{group}") for group in self._members],
            member=member,
            threshold=np.where(member != 0, safety[0], INT32_MAX).astype(np.int32),
            safety=safety,
            safety_total=np.ascontiguousarray(inside @ safety.T.astype(np.int64)),
            negative_total=np.ascontiguousarray(inside @ np.maximum(-safety.T.astype(np.int64), 0)),
            specials=np.array(self._specials, np.uint32).reshape(-1, 3),
            override_slot=overrides[:, 0].astype(np.uint32),
            override_quantity=overrides[:, 1].astype(np.int32),
            member_slots=member_slots,
            member_place=[self._number_of(slots) for slots in member_slots],
            demand_slot_of=np.empty(0, np.uint32),
            demand_number_of=np.empty(0, np.uint32),
        )

    def demand_columns(self, known: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Translate between the demand table's locations and slots, both ways.

        Parameters
        ----------
        known
            The demand table's locations, by number; the place knows them all.
        """
        slot_of = np.array([self._slots[name] for name in known], np.uint32)
        return slot_of, self._number_of(slot_of)

    @property
    def has_sku_rules(self) -> bool:
        """Whether any SKU's profile can be other than 0."""
        return bool(self._sku_profiles or self._category_profiles)

    def days(self, place: Place) -> NDArray[np.int32]:
        """Return today by slot, for a place that differs in nothing else."""
        column = np.full(self._slot_count, place.today_utc, np.int32)
        for name, ordinal in place.ordinals.items():
            column[self._slots[name]] = place.days[ordinal]
        return column

    def profile(self, sku: str) -> int:
        """Return a SKU's profile, or its special's index after all profiles; 0 is the default."""
        number = self._sku_profiles.get(sku)
        if number is None:
            known = self._setup.skus.get(sku)
            category = known.category if known is not None else None
            number = self._category_profiles.get(category, 0) if category is not None else 0
        return number

    def ruled_skus(self) -> Iterable[tuple[str, int]]:
        """Yield every SKU whose profile is not 0, with that profile."""
        yield from self._sku_profiles.items()
        if not self._category_profiles:
            return
        for sku, known in self._setup.skus.items():
            number = self._category_profiles.get(known.category or "", 0)
            if number and sku not in self._sku_profiles:
                yield sku, number

    def _compile_profiles(self) -> None:
        rules = self._rules
        nothing = np.zeros(self._slot_count, np.int32)
        self._profile(("default",), nothing, rules.default)
        for category, about in rules.by_category.items():
            key = ("category", category)
            self._category_profiles[category] = self._profile(key, self._profiles[0], about)
        # Specials are numbered after all profiles, so those must be counted first.
        bases = {sku: self._sku_base(sku, about) for sku, about in rules.by_sku.items()}
        for sku, about in rules.by_sku.items():
            self._sku_profiles[sku] = self._special(bases[sku], about)

    def _profile(
        self, key: tuple[object, ...], base: NDArray[np.int32], rules: list[SafetyRule]
    ) -> int:
        """Lay rules over a base, the weakest first; the same rules again are the same profile."""
        if key in self._profile_numbers:
            return self._profile_numbers[key]
        column = base.copy()
        groups = {rule.group: rule.quantity for rule in rules if rule.group is not None}
        for rule in rules:
            if rule.group is None and rule.location is None:
                column[:] = rule.quantity
        for group in self._by_weight:
            if group in groups:
                column[self._members[group] != 0] = groups[group]
        for rule in rules:
            if rule.location in self._slots:
                column[self._slots[rule.location]] = rule.quantity
        column[len(self._known)] = 0
        self._profiles.append(column)
        self._profile_numbers[key] = len(self._profiles) - 1
        return len(self._profiles) - 1

    def _sku_base(self, sku: str, rules: list[SafetyRule]) -> int:
        known = self._setup.skus.get(sku)
        category = known.category if known is not None else None
        below = self._category_profiles.get(category, 0) if category is not None else 0
        broad = [rule for rule in rules if rule.location is None]
        if not broad:
            return below
        flat = any(rule.group is None for rule in broad)
        laid = tuple(sorted((rule.group or "", rule.quantity) for rule in broad))
        key = ("sku", None if flat else below, laid)
        return self._profile(key, self._profiles[below], broad)

    def _special(self, base: int, rules: list[SafetyRule]) -> int:
        overrides = sorted(
            (self._slots[rule.location], rule.quantity)
            for rule in rules
            if rule.location is not None and rule.location in self._slots
        )
        if not overrides:
            return base
        self._specials.append((base, len(self._overrides), len(overrides)))
        self._overrides += overrides
        return len(self._profiles) + len(self._specials) - 1

    def _member_columns(self) -> dict[str, NDArray[np.int32]]:
        names = list(self._place.ordinals)
        columns = {}
        for group, ordinals in self._place.members.items():
            column = np.zeros(self._slot_count, np.int32)
            column[[self._slots[names[ordinal]] for ordinal in ordinals]] = -1
            columns[group] = column
        return columns

    def _slots_of(self, ordinals: list[int]) -> NDArray[np.uint32]:
        names = list(self._place.ordinals)
        return np.array([self._slots[names[ordinal]] for ordinal in ordinals], np.uint32)

    def _number_of(self, slots: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Turn slots by number into numbers by slot."""
        numbers = np.full(self._slot_count, NOWHERE, np.uint32)
        numbers[slots] = np.arange(len(slots), dtype=np.uint32)
        return numbers

    def _names(self) -> tuple[bytes, NDArray[np.uint32]]:
        escaped = [b""] * self._slot_count
        for name, slot in self._slots.items():
            escaped[slot] = _escaped(name)
        ends = np.cumsum([0, *map(len, escaped)])
        return b"".join(escaped), ends.astype(np.uint32)


def _escaped(text: str) -> bytes:
    """Write text as in JSON, without the quotes."""
    return msgspec.json.encode(text)[1:-1]


class _Rules(msgspec.Struct):
    """Rules by what they are about."""

    default: list[SafetyRule]
    by_category: dict[str, list[SafetyRule]]
    by_sku: dict[str, list[SafetyRule]]


def _by_subject(rules: Iterable[SafetyRule]) -> _Rules:
    found = _Rules([], defaultdict(list), defaultdict(list))
    for rule in rules:
        if rule.sku is not None:
            found.by_sku[rule.sku].append(rule)
        elif rule.category is not None:
            found.by_category[rule.category].append(rule)
        else:
            found.default.append(rule)
    return found
