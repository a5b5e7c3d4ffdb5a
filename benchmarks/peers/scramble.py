"""The last units of a few SKUs, bought by many at once: how many are sold that are not there.

Every request asks for one unit of one hot SKU, each SKU several times as often as it has units, all
mixed, each sent once. What the answers accepted is counted for each SKU, and the stock that is left
is read back from whoever decided. Units are oversold where more was accepted than there was. An
answer other than 2xx and 4xx is no promise, and is told as failed.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.kit.http_load import send_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOT = (99_996, 99_997, 99_998, 99_999)
"""The numbers of the hot SKUs; those of ordinary load stay below."""
ASKED_TIMES = 3
BUYER_COUNT = 64


class Sold(NamedTuple):
    """What a scramble came to; units of each hot SKU."""

    units: int
    accepted: list[int]
    left: list[int]
    refused: int
    failed: int

    @property
    def oversold(self) -> int:
        """Count the units accepted beyond those that were there."""
        return sum(max(0, each - self.units) for each in self.accepted)

    @property
    def is_exact(self) -> bool:
        """Whether what is left and what was accepted are what was there, SKU by SKU."""
        pairs = zip(self.accepted, self.left, strict=True)
        return all(accepted + left == self.units for accepted, left in pairs)

    def words(self) -> str:
        """Put it into one line."""
        asked = sum(self.accepted) + self.refused + self.failed
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"{self.units * len(self.accepted)} units asked for {asked} times: "
            f"{sum(self.accepted)} accepted, {self.refused} refused{failed}, "
            f"{sum(self.left)} left, {self.oversold} oversold"
        )


def scramble(
    port: int,
    request_for: Callable[[int], bytes],
    read_left: Callable[[Sequence[int]], list[int]],
    units: int,
) -> Sold:
    """Let buyers ask for more than there is.

    Parameters
    ----------
    port
        Of the server.
    request_for
        Makes the request for one unit of a hot SKU.
    read_left
        Reads the stock back: so many units of each hot SKU can still be promised.
    units
        Of each hot SKU at the start.
    """
    asked = [number for number in HOT for _ in range(ASKED_TIMES * units)]
    random.Random(7).shuffle(asked)
    _, first_digits = send_once(port, list(map(request_for, asked)), connections=BUYER_COUNT)
    accepted = dict.fromkeys(HOT, 0)
    for number, digit in zip(asked, first_digits, strict=True):
        accepted[number] += digit == "2"
    refused = first_digits.count("4")
    failed = len(asked) - sum(accepted.values()) - refused
    return Sold(units, list(accepted.values()), read_left(HOT), refused, failed)
