"""What every decision works with: the book, the rules, the set-up, and where ids come from.

Clock and randomness are arguments, so the same commands at the same times from the same seed end in
the same book.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from onhand.model.setup import Setup
from onhand.orders.purchases import NoPurchases
from onhand.orders.refusal import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onhand.orders.book import Book
    from onhand.orders.purchases import Purchase, Purchases
    from onhand.orders.sites import Sites
    from onhand.orders.stock import Stock
    from onhand.sourcing.policy import Policy

EVENT_SOURCE: Final = "onhand/orders"
"""``source`` of every event that the order layer publishes."""

KNOWN_SKUS_MAX: Final = 100_000

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_encode = msgspec.json.Encoder().encode


class Rules(Struct, frozen=True, kw_only=True):
    """What the settings say about promising."""

    open_max: int = 5_000_000
    """Holds and orders that may be open."""
    resource_max: int = 3
    """How often the units of an allocation are sourced again."""
    preparation_s: int = 7_200
    """Opening time that a location needs to make a pickup ready or a package leave."""
    transit_km_per_day: float = 800.0
    shortfall: str = "source_again"
    """``source_again`` or ``report``: what becomes of promises that the shelf cannot keep."""


class Actor(Struct, frozen=True):
    """Who asks: a name for histories, an associate's locations, None for all, and the role."""

    name: str = "system"
    locations: frozenset[str] | None = None
    role: str = "system"

    def must_work_at(self, location: str) -> None:
        """Refuse an associate of another location.

        Raises
        ------
        Refusal
            ``wrong_location``.
        """
        if self.locations is not None and location not in self.locations:
            raise refuse("wrong_location", f"the token is not bound to {location!r}")


SYSTEM: Final = Actor()


class Ids:
    """Makes ids that sort by time, unlike any made by an earlier or later writer.

    Parameters
    ----------
    epoch
        The writer's number, raised each time one takes over.
    """

    def __init__(self, epoch: int, random: Random) -> None:
        self._prefix = _text(epoch, 3)
        self._random = random
        # Tails are no secret, and the system's own randomness would cost a call each.
        self._tails = Random(random.getrandbits(64))  # noqa: S311
        self._count = 0

    def next(self, kind: str) -> str:
        """Make an id such as ``hold_0000010000002ax7qd``: epoch, count, and a random tail."""
        self._count += 1
        count, tail = self._count, self._tails.getrandbits(20)
        return (
            f"{kind}_{self._prefix}"
            f"{_PAIRS[count >> 30 & 1023]}{_PAIRS[count >> 20 & 1023]}"
            f"{_PAIRS[count >> 10 & 1023]}{_PAIRS[count & 1023]}"
            f"{_PAIRS[tail >> 10]}{_PAIRS[tail & 1023]}"
        )

    def pickup_code(self) -> str:
        """Make the code a customer shows at collection: six digits."""
        return f"{self._random.randrange(1_000_000):06}"


class Desk:
    """What decisions are made with. One thread at a time.

    Parameters
    ----------
    policy
        Chooses between locations.
    """

    def __init__(
        self, book: Book, rules: Rules, policy: Policy, ids: Ids, setup: Setup | None = None
    ) -> None:
        self.book = book
        self.rules = rules
        self.policy = policy
        self.ids = ids
        self.setup = setup or Setup()
        self.sites: Sites | None = None
        """What :func:`onhand.orders.sites.sites_of` has worked out of the set-up."""
        self.history: Purchases = NoPurchases()
        """Knows what was sold at tills."""
        self.purchases: Mapping[str, Purchase] = {}
        """Those that the commands of this batch name, by receipt."""
        self._known_skus: set[str] = set()

    @property
    def stock(self) -> Stock:
        """What there is to promise."""
        return self.book.stock

    def must_know_sku(self, sku: str, pointer: str) -> None:
        """Refuse a SKU that nobody has named.

        Raises
        ------
        Refusal
            ``unknown_sku``.
        """
        if sku in self._known_skus:
            return
        if not self.stock.knows_sku(sku):
            raise refuse("unknown_sku", f"no event and no set-up has named {sku!r}", pointer)
        # A SKU that was named once stays named, and asking every shard costs a microsecond.
        if len(self._known_skus) >= KNOWN_SKUS_MAX:
            self._known_skus.clear()
        self._known_skus.add(sku)

    def must_have_room(self) -> None:
        """Refuse to open more than the rules allow.

        Raises
        ------
        Refusal
            ``too_many_open``.
        """
        book = self.book
        if len(book.holds) + len(book.orders) + len(book.returns) >= self.rules.open_max:
            detail = f"{self.rules.open_max} holds, orders and returns are open"
            raise refuse("too_many_open", detail)

    def tell(
        self, kind: str, subject: str, now_us: int, data: dict[str, Any] | msgspec.Raw
    ) -> None:
        """Publish a CloudEvent about a hold, order or task on ``orders.events``.

        Parameters
        ----------
        kind
            Such as ``order.placed``; it is published as ``onhand.order.placed``.
        subject
            The id of the hold or order.
        data
            What has become of it, to be written as JSON or written already.
        """
        event = {
            "specversion": "1.0",
            "id": self.ids.next("ev"),
            "source": EVENT_SOURCE,
            "type": f"onhand.{kind}",
            "subject": subject,
            "time": rfc3339(now_us),
            "datacontenttype": "application/json",
            "data": data,
        }
        self.book.tell(subject, _encode(event))


@lru_cache(maxsize=1024)
def rfc3339(at_us: int) -> str:
    """Write a time as RFC 3339 in UTC, to the millisecond. One batch asks for few, many times."""
    seconds, rest = divmod(at_us, 1_000_000)
    return f"{_date_and_time(seconds)}.{rest // 1000:03}Z"


@lru_cache(4_096)
def _date_and_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _text(number: int, width: int) -> str:
    """Write the low 10 * width bits, two characters for each 10."""
    text = ""
    for _ in range(width):
        text = _PAIRS[number & 1023] + text
        number >>= 10
    return text


_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
