"""Access tokens: made here, stored hashed, revoked for good.

A token reads ``oh_<id>_<secret>``. The secret is 256 random bits, so one round of SHA-256 is
enough to store it: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import sqlalchemy as sa

from onhand.errors import FieldError, InvalidInput
from onhand.ledger.engine import bump
from onhand.ledger.schema import revision, token
from onhand.model.access import ROLES, Grant, Role
from onhand.model.validate import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onhand.ledger.engine import Ledger

TOKENS: Final = "tokens"
PREFIX: Final = "oh_"
ID_LENGTH: Final = 16
SECRET_BYTES: Final = 32


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is listed; its secret is known to its bearer alone."""

    id: str
    role: Role
    locations: tuple[str, ...]
    label: str
    created_us: int
    revoked_us: int | None = None


class StoredToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is not revoked, as requests are checked against."""

    grant: Grant
    secret_sha256: str


class TokenStore:
    """The tokens in the ledger.

    Parameters
    ----------
    clock_us
        Microseconds since 1970, stamped on creation and revocation.
    """

    def __init__(self, ledger: Ledger, *, clock_us: Callable[[], int] | None = None) -> None:
        self._ledger = ledger
        self._clock_us = clock_us or _now_us

    def create(self, role: str, locations: Sequence[str] = (), *, label: str = "") -> str:
        """Make a token and answer it; it cannot be read again.

        Raises
        ------
        InvalidInput
            For an unknown role, an associate without locations, or locations with another role.
        """
        checked = _check(role, locations, label)
        token_id = secrets.token_hex(ID_LENGTH // 2)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        row = {
            "id": token_id,
            "secret_sha256": hash_secret(secret),
            "role": checked,
            "locations": msgspec.json.encode(sorted(set(locations))).decode(),
            "label": label,
            "created_us": self._clock_us(),
        }
        with self._ledger.write() as connection:
            bump(connection, TOKENS)
            connection.execute(token.insert().values(row))
        return f"{PREFIX}{token_id}_{secret}"

    def revoke(self, token_id: str) -> bool:
        """End a token; answer False when there is none, or none any more."""
        statement = (
            token.update()
            .where(token.c.id == token_id, token.c.revoked_us.is_(None))
            .values(revoked_us=self._clock_us())
        )
        with self._ledger.write() as connection:
            bump(connection, TOKENS)
            return connection.execute(statement).rowcount == 1

    def list_tokens(self) -> list[TokenInfo]:
        """Read every token ever made, oldest first."""
        query = sa.select(token).order_by(token.c.created_us, token.c.id)
        with self._ledger.read() as connection:
            return [_info(row) for row in connection.execute(query)]

    def load(self) -> tuple[int, dict[str, StoredToken]]:
        """Read the version and every token that still opens something, by id."""
        version = sa.select(revision.c.version).where(revision.c.name == TOKENS)
        query = sa.select(token).where(token.c.revoked_us.is_(None))
        with self._ledger.read() as connection:
            found = int(connection.execute(version).scalar_one())
            return found, {row.id: _stored(row) for row in connection.execute(query)}

    def version(self) -> int:
        """Read the version; it rises with every change. Cheap enough to poll."""
        return self._ledger.version(TOKENS)


def hash_secret(secret: str) -> str:
    """Hash a secret as it is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _now_us() -> int:
    return time.time_ns() // 1_000


def _check(role: str, locations: Sequence[str], label: str) -> Role:
    errors = []
    if role not in ROLES:
        errors.append(FieldError("/role", f"must be one of {', '.join(ROLES)}"))
    elif role == "associate" and not locations:
        errors.append(FieldError("/locations", "must name at least one location of an associate"))
    elif role != "associate" and locations:
        errors.append(FieldError("/locations", "must be left out unless the role is associate"))
    for index, location in enumerate(locations):
        errors += printable(f"/locations/{index}", location)
    errors += printable("/label", label)
    if errors:
        what = "not a valid token"
        raise InvalidInput(what, tuple(errors))
    return cast("Role", role)


def _info(row: Any) -> TokenInfo:
    return TokenInfo(
        id=row.id,
        role=row.role,
        locations=tuple(msgspec.json.decode(row.locations)),
        label=row.label,
        created_us=row.created_us,
        revoked_us=row.revoked_us,
    )


def _stored(row: Any) -> StoredToken:
    locations = frozenset(msgspec.json.decode(row.locations, type=list[str]))
    grant = Grant(token_id=row.id, role=row.role, locations=locations)
    return StoredToken(grant=grant, secret_sha256=row.secret_sha256)
