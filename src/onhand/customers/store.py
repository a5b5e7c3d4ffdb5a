"""Where purchases, wish lists and erasures are kept.

The feed writes purchases together with the offsets that they were read up to, so each is there
once however the feed ends. Any number of processes read.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from onhand.customers.purchases import Details, PurchaseRow
from onhand.customers.schema import SCHEMA, erasure, feed_offset, purchase, wishlist
from onhand.ledger.engine import open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from onhand.ledger.engine import Ledger
    from onhand.log.base import TopicPartition
    from onhand.settings import Settings

STEP_COUNT: Final = 500
"""Rows that one transaction changes or drops: a few milliseconds."""

_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_decode_details = msgspec.json.Decoder(Details).decode


class FeedOvertaken(Exception):
    """Another feed has stored what this one has read; nothing of it was stored again."""


class StoredPurchase(NamedTuple):
    """A purchase or return of a customer; ``number`` breaks ties of time."""

    number: int
    kind: str
    source: str
    event_id: str
    basket_id: str | None
    reference: str | None
    location: str
    occurred_us: int
    details: Details


class Erasure(NamedTuple):
    """A customer who was erased, and what stands in place of the id."""

    token: str
    erased_us: int


def open_customers(settings: Settings, *, is_feed: bool = False) -> Ledger:
    """Open the database of customers, creating or migrating it first.

    Parameters
    ----------
    is_feed
        Do not wait for the disk: what a crash of the machine takes back is read from the log again,
        since the offsets go back with it.

    Raises
    ------
    LedgerUnavailable, LedgerTooNew
        As for the ledger itself.
    """
    database = open_database(settings, settings.customers_path, SCHEMA)
    if is_feed and database.engine.dialect.name == "sqlite":
        event.listen(database.engine, "connect", _do_not_wait)
        database.engine.dispose()
    return database


class CustomerStore:
    """Purchases, wish lists and erasures; any thread, any process.

    Every method raises LedgerUnavailable when the database fails.
    """

    def __init__(self, database: Ledger) -> None:
        self._database = database
        self._insert = _INSERTS[database.engine.dialect.name]

    # ---- the feed ----

    def offsets(self) -> dict[TopicPartition, int]:
        """Read up to where each partition of the log is stored."""
        with self._database.read() as connection:
            return _offsets(connection, lock=False)

    def store(
        self,
        rows: Sequence[PurchaseRow],
        before: Mapping[TopicPartition, int],
        after: Mapping[TopicPartition, int],
    ) -> int:
        """Store what was read between two offsets of each partition; answer how many rows are new.

        Rows of customers who were erased after they bought carry the token that stands for them.

        Raises
        ------
        FeedOvertaken
            What is stored does not end where this begins.
        """
        with self._database.write() as connection:
            known = _offsets(connection, lock=True)
            if any(known.get(each, offset) != offset for each, offset in before.items()):
                raise FeedOvertaken
            stored = self._add(connection, rows) if rows else 0
            moved = [
                {"topic": topic, "partition": number, "next_offset": offset}
                for (topic, number), offset in after.items()
                if known.get((topic, number)) != offset
            ]
            if moved:
                statement = self._insert(feed_offset)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["topic", "partition"],
                        set_={"next_offset": statement.excluded.next_offset},
                    ),
                    moved,
                )
            return stored

    def prune(self, appended_before_us: int, row_count_max: int = STEP_COUNT) -> int:
        """Drop a bounded number of purchases that entered the log before a time."""
        oldest = sa.select(purchase.c.number).order_by(purchase.c.number).limit(row_count_max)
        statement = sa.delete(purchase).where(
            purchase.c.number.in_(oldest), purchase.c.appended_us < appended_before_us
        )
        with self._database.write() as connection:
            return connection.execute(statement).rowcount

    def forget_erasures(self, erased_before_us: int) -> int:
        """Drop erasures of which no event can come any more."""
        with self._database.write() as connection:
            statement = sa.delete(erasure).where(erasure.c.erased_us < erased_before_us)
            return connection.execute(statement).rowcount

    def purchase_count(self) -> int:
        """Say about how many purchases are kept."""
        query = sa.select(sa.func.min(purchase.c.number), sa.func.max(purchase.c.number))
        with self._database.read() as connection:
            first, last = connection.execute(query).one()
        return 0 if last is None else last - first + 1

    # ---- reading ----

    def of_customer(
        self, customer: str, before: tuple[int, int] | None, limit: int
    ) -> list[StoredPurchase]:
        """List purchases and returns of a customer, the newest first.

        Parameters
        ----------
        before
            Time and number of the last one of the page before.
        """
        columns = [purchase.c[name] for name in _READ]
        query = sa.select(*columns).where(purchase.c.customer == customer)
        if before is not None:
            position = sa.tuple_(purchase.c.occurred_us, purchase.c.number)
            query = query.where(position < sa.tuple_(*map(sa.literal, before)))
        query = query.order_by(purchase.c.occurred_us.desc(), purchase.c.number.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).all()
        return [StoredPurchase._make((*row[:-1], _decode_details(row[-1]))) for row in rows]

    def wishes(self, customer: str) -> bytes | None:
        """Read a customer's wish list, JSON; None when there is none."""
        query = sa.select(wishlist.c.document).where(wishlist.c.customer == customer)
        with self._database.read() as connection:
            document: bytes | None = connection.execute(query).scalar()
        return document

    def put_wishes(self, customer: str, document: bytes | None, now_us: int) -> None:
        """Replace a customer's wish list; None removes it."""
        with self._database.write() as connection:
            connection.execute(sa.delete(wishlist).where(wishlist.c.customer == customer))
            if document is not None:
                row = {"customer": customer, "document": document, "updated_us": now_us}
                connection.execute(wishlist.insert().values(row))

    # ---- erasing ----

    def begin_erasure(self, customer: str, token: str, now_us: int) -> Erasure:
        """Note that a customer is erased, and forget the wish list.

        From now on events of the time before are stored under the token. One that was begun before
        keeps its token, and is for all time up to now.
        """
        with self._database.write() as connection:
            statement = self._insert(erasure).values(
                customer_sha256=_hash(customer), token=token, erased_us=now_us
            )
            statement = statement.on_conflict_do_update(
                index_elements=["customer_sha256"], set_={"erased_us": now_us}
            )
            kept = connection.execute(statement.returning(erasure.c.token)).scalar_one()
            connection.execute(sa.delete(wishlist).where(wishlist.c.customer == customer))
        return Erasure(kept, now_us)

    def erase_some(self, customer: str, token: str, row_count_max: int = STEP_COUNT) -> int:
        """Put the token in place of a customer in some purchases; answer in how many."""
        some = (
            sa.select(purchase.c.number).where(purchase.c.customer == customer).limit(row_count_max)
        )
        statement = sa.update(purchase).where(purchase.c.number.in_(some)).values(customer=token)
        with self._database.write() as connection:
            return connection.execute(statement).rowcount

    # ---- within ----

    def _add(self, connection: Connection, rows: Sequence[PurchaseRow]) -> int:
        # Read within the transaction: an erasure is either here, or finds these rows itself.
        erased = _erasures(connection, {row.customer for row in rows if row.customer is not None})
        values = [_without_erased(row, erased)._asdict() for row in rows]
        statement = self._insert(purchase).on_conflict_do_nothing().returning(purchase.c.number)
        return len(connection.execute(statement, values).all())


def _do_not_wait(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _offsets(connection: Connection, *, lock: bool) -> dict[TopicPartition, int]:
    query = sa.select(feed_offset)
    rows = connection.execute(query.with_for_update() if lock else query)
    return {(row.topic, row.partition): row.next_offset for row in rows}


def _hash(customer: str) -> str:
    return sha256(customer.encode()).hexdigest()


def _erasures(connection: Connection, customers: Iterable[str]) -> dict[str, Erasure]:
    by_hash = {_hash(each): each for each in customers}
    # Few are kept at a time, and of them all are read: a list of all customers would be longer.
    rows = connection.execute(sa.select(erasure))
    return {
        by_hash[row.customer_sha256]: Erasure(row.token, row.erased_us)
        for row in rows
        if row.customer_sha256 in by_hash
    }


def _without_erased(row: PurchaseRow, erased: Mapping[str, Erasure]) -> PurchaseRow:
    found = erased.get(row.customer or "")
    if found is None or min(row.occurred_us, row.appended_us) > found.erased_us:
        return row
    return row._replace(customer=found.token)


_READ: Final = (
    "number",
    "kind",
    "source",
    "event_id",
    "basket_id",
    "reference",
    "location",
    "occurred_us",
    "document",
)
