"""Check the token of a request against memory that follows the ledger.

A check touches no database: a thread of its own watches the tokens' version and loads them anew
when it changes, so a revoked token stops working within :data:`REFRESH_INTERVAL_S` and a little.
While the ledger cannot be reached the tokens last known stay valid: reads go on.
"""

from __future__ import annotations

import hmac
import threading
import time
from typing import TYPE_CHECKING, Final

import msgspec

from onhand.errors import LedgerUnavailable
from onhand.ledger.tokens import ID_LENGTH, PREFIX, StoredToken, hash_secret
from onhand.logging import get_logger
from onhand.model.access import OPEN_GRANT, Grant

if TYPE_CHECKING:
    from onhand.ledger.tokens import TokenStore

REFRESH_INTERVAL_S: Final = 0.1
VISIBLE_S: Final = 0.4
"""After this long a change of tokens has reached every server that reaches the ledger."""

_SCHEME: Final = "Bearer "
_ID_BEGIN: Final = len(PREFIX)
_ID_END: Final = _ID_BEGIN + ID_LENGTH

log = get_logger(__name__)


class AuthenticatorStatistics(msgspec.Struct, frozen=True):
    """What an authenticator knows and how fresh it is."""

    token_count: int
    version: int
    age_s: float
    refresh_failures: int


class _Known:
    """A token in memory. ``proven`` is the whole token once a request has shown it."""

    __slots__ = ("grant", "proven", "secret_sha256")

    def __init__(self, stored: StoredToken) -> None:
        self.grant = stored.grant
        self.secret_sha256 = stored.secret_sha256
        self.proven: str | None = None


class Authenticator:
    """Turns an ``Authorization`` header into a grant.

    Use: make one a process, :meth:`start`, :meth:`authenticate` from any thread, :meth:`close`.

    Parameters
    ----------
    store
        The tokens; None opens everything to everyone, for ``no_auth``.
    """

    def __init__(self, store: TokenStore | None) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}
        self._version = -1
        self._refreshed_s = time.monotonic()
        self._failures = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def authenticate(self, authorization: str | None) -> Grant | None:
        """Answer what a request may do, None when its token is missing or not valid.

        Parameters
        ----------
        authorization
            The value of the header, as received.

        Notes
        -----
        Under 1 us for a token shown before. Both the first and the later comparison take the
        same time wherever two secrets differ.
        """
        if self._store is None:
            return OPEN_GRANT
        if authorization is None:
            return None
        if not authorization.startswith(_SCHEME) and not _is_bearer(authorization):
            return None
        token = authorization[len(_SCHEME) :]
        known = self._known.get(token[_ID_BEGIN:_ID_END])
        # compare_digest takes text only if it is ASCII, and every token of ours is.
        if known is None or not token.isascii():
            return None
        if known.proven is not None:
            return known.grant if hmac.compare_digest(token, known.proven) else None
        return self._prove(known, token)

    def refresh(self) -> bool:
        """Load the tokens anew if they changed; answer whether they did.

        Raises
        ------
        LedgerUnavailable
            When the ledger cannot be read; what was known stays.
        """
        if self._store is None:
            return False
        changed = self._store.version() != self._version
        if changed:
            self._version, stored = self._store.load()
            self._known = {token_id: _Known(each) for token_id, each in stored.items()}
        self._refreshed_s = time.monotonic()
        return changed

    def start(self) -> None:
        """Load the tokens and follow them until :meth:`close`.

        Raises
        ------
        LedgerUnavailable
            When they cannot be loaded at first.
        """
        self.refresh()
        if self._store is not None and self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="onhand-tokens", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread is not None:
            # A query on a host that just vanished may still wait; the thread is a daemon.
            self._thread.join(timeout=5)

    def statistics(self) -> AuthenticatorStatistics:
        """Describe what is known and how fresh it is."""
        return AuthenticatorStatistics(
            token_count=len(self._known),
            version=self._version,
            age_s=time.monotonic() - self._refreshed_s,
            refresh_failures=self._failures,
        )

    def _prove(self, known: _Known, token: str) -> Grant | None:
        if token[:_ID_BEGIN] != PREFIX or token[_ID_END : _ID_END + 1] != "_":
            return None
        digest = hash_secret(token[_ID_END + 1 :])
        if not hmac.compare_digest(digest, known.secret_sha256):
            return None
        known.proven = token
        return known.grant

    def _follow(self) -> None:
        failing = False
        while not self._stop.wait(REFRESH_INTERVAL_S):
            try:
                self.refresh()
            except LedgerUnavailable as error:
                self._failures += 1
                if not failing:
                    log.warning("tokens_not_refreshed", error=str(error))
                failing = True
            else:
                if failing:
                    log.info("tokens_refreshed_again")
                failing = False


def _is_bearer(authorization: str) -> bool:
    # The name of a scheme may be written in any case (RFC 9110).
    return authorization[: len(_SCHEME)].lower() == _SCHEME.lower()
