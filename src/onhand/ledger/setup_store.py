"""Where locations, SKUs and safety stock are kept, and how other processes notice a change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from onhand.errors import LedgerUnavailable
from onhand.ledger.engine import bump
from onhand.ledger.schema import location as location_table
from onhand.ledger.schema import return_policy, revision, safety_rule
from onhand.ledger.schema import sku as sku_table
from onhand.model.return_policy import ReturnPolicy
from onhand.model.setup import Location, SafetyRule, Setup, Sku, parse_safety_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy import Connection, Table

    from onhand.ledger.engine import Ledger

SETUP: Final = "setup"

_ROW_COUNT_MAX: Final = 5_000
"""Rows handed to the database at once."""


class SetupStore:
    """Set-up in the ledger. Every change is on disk, and its version raised, when a call returns.

    Parameters
    ----------
    clock_us
        Microseconds since 1970, stamped on what changes.
    """

    def __init__(self, ledger: Ledger, *, clock_us: Callable[[], int] | None = None) -> None:
        self._ledger = ledger
        self._clock_us = clock_us or _now_us

    def put_location(self, location: Location) -> bool:
        """Create or replace one location; answer True when it is new."""
        return self.put_locations([location]) == 1

    def put_locations(self, locations: Sequence[Location]) -> int:
        """Create or replace all of them in one transaction; answer how many are new."""
        now_us = self._clock_us()
        rows = [
            {"id": each.id, "document": msgspec.json.encode(each).decode(), "updated_us": now_us}
            for each in locations
        ]
        with self._ledger.write() as connection:
            bump(connection, SETUP)
            known = set(connection.execute(sa.select(location_table.c.id)).scalars())
            _upsert(connection, location_table, rows)
        return len({row["id"] for row in rows} - known)

    def list_locations(self) -> list[Location]:
        """Read every location, by id."""
        with self._ledger.read() as connection:
            return _load_locations(connection)

    def put_skus(self, skus: Sequence[Sku]) -> int:
        """Create or replace SKUs; those not named stay. Answer the new version."""
        with self._ledger.write() as connection:
            version = bump(connection, SETUP)
            rows = [{**msgspec.structs.asdict(each), "version": version} for each in skus]
            _upsert(connection, sku_table, rows)
        return version

    def replace_safety_stock(self, body: object) -> tuple[SafetyRule, ...]:
        """Judge rules against the locations there are now, and put them in place of all others.

        Parameters
        ----------
        body
            What ``PUT /v1/safety-stock`` carries, decoded.

        Raises
        ------
        InvalidInput
            Naming each rule, field and what it breaks; nothing is changed then.
        """
        with self._ledger.write() as connection:
            bump(connection, SETUP)
            locations = {each.id: each for each in _load_locations(connection)}
            rules = parse_safety_rules(body, Setup(locations=locations))
            connection.execute(safety_rule.delete())
            rows = [{"position": index, **_rule_row(rule)} for index, rule in enumerate(rules)]
            for some in _chunks(rows):
                connection.execute(safety_rule.insert(), some)
        return rules

    def put_return_policy(self, policy: ReturnPolicy) -> ReturnPolicy:
        """Let a policy decide about returns from now on; answer it with its new version.

        Policies before it stay readable by their version.
        """
        newest = sa.select(sa.func.coalesce(sa.func.max(return_policy.c.version), 0))
        with self._ledger.write() as connection:
            bump(connection, SETUP)
            version = int(connection.execute(newest).scalar_one()) + 1
            policy = msgspec.structs.replace(policy, version=version)
            row = {
                "version": version,
                "document": msgspec.json.encode(policy).decode(),
                "created_us": self._clock_us(),
            }
            connection.execute(return_policy.insert(), row)
        return policy

    def load_setup(self, since: Setup | None = None) -> Setup:
        """Read everything as of one version.

        Parameters
        ----------
        since
            What the caller has: SKUs that did not change since are taken from it, which spares
            reading a million of them because one location moved.
        """
        query = sa.select(revision.c.version).where(revision.c.name == SETUP)
        with self._ledger.read() as connection:
            version = int(connection.execute(query).scalar_one())
            if since is not None and since.version == version:
                return since
            # A version ahead of the ledger's is of a ledger restored since: nothing of it holds.
            base = since if since is not None and since.version < version else Setup()
            return Setup(
                version=version,
                locations={each.id: each for each in _load_locations(connection)},
                skus={**base.skus, **_load_skus(connection, base.version)},
                safety_rules=_load_rules(connection),
                return_policy=_load_return_policy(connection),
            )

    def setup_version(self) -> int:
        """Read the version; it rises with every change. Cheap enough to poll."""
        return self._ledger.version(SETUP)


def _now_us() -> int:
    return time.time_ns() // 1_000


def _upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table)
    keys = [column.name for column in table.primary_key]
    statement = statement.on_conflict_do_update(
        index_elements=keys,
        set_={
            column.name: statement.excluded[column.name]
            for column in table.columns
            if column.name not in keys
        },
    )
    for some in _chunks(rows):
        connection.execute(statement, some)


def _chunks(rows: Sequence[dict[str, Any]]) -> Iterable[Sequence[dict[str, Any]]]:
    return (rows[at : at + _ROW_COUNT_MAX] for at in range(0, len(rows), _ROW_COUNT_MAX))


def _load_locations(connection: Connection) -> list[Location]:
    query = sa.select(location_table.c.document).order_by(location_table.c.id)
    # Ordered again here: databases collate text differently, and order is part of the answer.
    locations = [_read_location(document) for document in connection.execute(query).scalars()]
    return sorted(locations, key=lambda each: each.id)


def _read_location(document: str) -> Location:
    try:
        return msgspec.json.decode(document, type=Location)
    except msgspec.ValidationError as error:
        what = f"the ledger holds a location that this onhand cannot read: {error}"
        raise LedgerUnavailable(what, "Run the onhand that wrote it, or set it up anew") from error


def _load_skus(connection: Connection, since_version: int) -> dict[str, Sku]:
    rows = connection.execute(sa.select(sku_table).where(sku_table.c.version > since_version))
    return {
        row.sku: Sku(sku=row.sku, category=row.category, unit=row.unit, name=row.name)
        for row in rows
    }


def _load_rules(connection: Connection) -> tuple[SafetyRule, ...]:
    rows = connection.execute(sa.select(safety_rule).order_by(safety_rule.c.position))
    return tuple(
        SafetyRule(
            sku=row.sku,
            category=row.category,
            location=row.location,
            group=row.group_name,
            quantity=row.quantity,
        )
        for row in rows
    )


def _load_return_policy(connection: Connection) -> ReturnPolicy:
    newest = sa.select(return_policy.c.document).order_by(return_policy.c.version.desc()).limit(1)
    document = connection.execute(newest).scalar()
    if document is None:
        return ReturnPolicy()
    try:
        return msgspec.json.decode(document, type=ReturnPolicy)
    except msgspec.ValidationError as error:
        what = f"the ledger holds a return policy that this onhand cannot read: {error}"
        raise LedgerUnavailable(what, "Run the onhand that wrote it, or set it up anew") from error


def _rule_row(rule: SafetyRule) -> dict[str, Any]:
    return {
        "sku": rule.sku,
        "category": rule.category,
        "location": rule.location,
        "group_name": rule.group,
        "quantity": rule.quantity,
    }
