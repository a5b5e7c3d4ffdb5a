"""Statements over many rows, written once for each of a few sizes.

Python's SQLite driver steps an ``executemany`` once a row, and takes the interpreter lock for every
one of them; beside a busy event loop each may cost 5 ms. One statement over many rows is one step.
PostgreSQL plans such a statement once a connection.
"""

from __future__ import annotations

import functools
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Dialect, Table
    from sqlalchemy.sql import Executable

SIZES: Final = (256, 128, 64, *range(32, 0, -1))
"""Rows of one upsert. More make it hardly cheaper; the rows of most commits are one statement."""
KEY_SIZES: Final = (1, 16, 64, 256, 1024)
"""Keys of one SELECT or DELETE; what a call leaves open is filled by repeating its last key."""

Statement = tuple[str, tuple[Any, ...]]
"""Text for the driver, and its parameters in order."""

_DIALECTS: Final[dict[str, Dialect]] = {
    # Parameters as the drivers take them, both by position.
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="numeric_dollar"),  # type: ignore[no-untyped-call]
}
_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_ROW: Final = re.compile(r"(.* VALUES )(\([^()]+\))( ON CONFLICT .*)", re.DOTALL)
_NUMBER: Final = re.compile(r"\$(\d+)")


def compile_text(dialect_name: str, statement: Executable) -> tuple[str, tuple[str, ...]]:
    """Render a statement for the driver; answer its text and the names of its parameters."""
    compiled = statement.compile(dialect=_DIALECTS[dialect_name])  # type: ignore[attr-defined]
    return str(compiled), tuple(compiled.positiontup or ())


def upserts(
    dialect_name: str, table: Table, rows: Sequence[tuple[Any, ...]]
) -> Iterator[Statement]:
    """Yield the statements that insert rows, or replace those that have the same key.

    Parameters
    ----------
    rows
        Tuples in the order of the table's columns, of which the first is the key. Of several with
        one key the last is written: PostgreSQL refuses to replace a row twice in a statement.

    Notes
    -----
    O(rows). One statement for up to 32 rows, and at most 4 beyond one for each 256.
    """
    unique = {row[0]: row for row in rows}
    if len(unique) != len(rows):
        rows = list(unique.values())
    at = 0
    for size in SIZES:
        while len(rows) - at >= size:
            chunk = rows[at : at + size]
            yield _upsert(dialect_name, table, size), tuple(chain.from_iterable(chunk))
            at += size


def by_keys(
    dialect_name: str, query: sa.Select[Any], column: sa.Column[Any], keys: Sequence[Any]
) -> Iterator[Statement]:
    """Yield the statements that select the rows whose column is one of the keys.

    The query is a constant of its module: its text is kept for good.
    """
    for some in _padded(keys):
        yield _by_keys(dialect_name, query, column, len(some)), some


def deletes(dialect_name: str, table: Table, keys: Sequence[Any]) -> Iterator[Statement]:
    """Yield the statements that delete rows by key, the first column of the table."""
    for some in _padded(keys):
        yield _delete(dialect_name, table, len(some)), some


def prepare(dialect_name: str, tables: Sequence[Table]) -> None:
    """Write the upserts of every size: milliseconds, better spent before than between."""
    for table in tables:
        for size in SIZES:
            _upsert(dialect_name, table, size)


@functools.cache
def _upsert(dialect_name: str, table: Table, size: int) -> str:
    before, row, after = _upsert_parts(dialect_name, table)
    width = len(table.columns)
    rows = [_renumbered(row, shift) for shift in range(0, width * size, width)]
    return before + ", ".join(rows) + after


@functools.cache
def _upsert_parts(dialect_name: str, table: Table) -> tuple[str, str, str]:
    """Compile the upsert of one row; answer its text up to the row, the row, and what follows.

    Rows differ in nothing but the numbers of their parameters, if the dialect has numbers.
    Compiling them all would take half a second at every start.
    """
    names = [column.name for column in table.columns]
    statement = _INSERTS[dialect_name](table).values(dict.fromkeys(names))
    statement = statement.on_conflict_do_update(
        index_elements=[names[0]],
        set_={name: statement.excluded[name] for name in names[1:]},
    )
    text, parameters = compile_text(dialect_name, statement)
    if list(parameters) != names:
        raise AssertionError(f"Invariant: parameters of {table.name} come in its columns' order")
    found = _ROW.fullmatch(text)
    if found is None:
        raise AssertionError(f"Invariant: the upsert of {table.name} has one row of parameters")
    before, row, after = found.groups()
    return before, row, after


def _renumbered(row: str, shift: int) -> str:
    return _NUMBER.sub(lambda found: f"${int(found[1]) + shift}", row)


def _padded(keys: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Cut keys into chunks of a few sizes, each filled by repeating its last key."""
    largest = KEY_SIZES[-1]
    for at in range(0, len(keys), largest):
        some = keys[at : at + largest]
        size = next(size for size in KEY_SIZES if size >= len(some))
        yield (*some, *[some[-1]] * (size - len(some)))


@functools.cache
def _delete(dialect_name: str, table: Table, size: int) -> str:
    return _by_keys(dialect_name, sa.delete(table), next(iter(table.columns)), size)


@functools.cache
def _by_keys(
    dialect_name: str, statement: sa.Select[Any] | sa.Delete, column: sa.Column[Any], size: int
) -> str:
    keys = [sa.bindparam(f"key_{index}", type_=column.type) for index in range(size)]
    text, parameters = compile_text(dialect_name, statement.where(column.in_(keys)))
    if list(parameters) != [key.key for key in keys]:
        raise AssertionError("Invariant: keys are the only parameters, in their order")
    return text
