"""What a sourcing policy is asked, what it answers, and nothing of how it decides.

A policy chooses the locations that an order ships or is collected from. It knows items and places
by number only: the caller keeps the names, leaves out whatever may not serve, and orders the places
by name, since what ties in everything else goes to the lower number. A policy does no I/O, reads no
clock and draws nothing at random, so the same request has the same answer everywhere.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted, and what each of N places could give of it now.

    Parameters
    ----------
    quantities : int64[L]
        Units wanted of each distinct item, at least 1; lines of one SKU are merged by the caller.
    available : int64[L, N]
        Units of each item that each place could give now, net of holds; 0 where it is excluded.
        What is below 0 counts as 0.
    distance_km : float64[N]
        From the place to the destination; nan when unknown, which ranks after all that is known.
    cost : float64[N]
        Handling cost of one package, at least 0; what is above 1e9 counts as that.
    priority : int64[N]
        Lower is better.
    load : float64[N]
        Share of the day's capacity that is used, 0 to 1 and above when more was taken on. What
        full places may not give is excluded by the caller.
    allow_split : bool
        Several places may serve one order, and one item too.
    allow_partial : bool
        As much as possible is placed, when not everything can be.
    options_max : int
        The most options in the answer, 1 to 64.

    Notes
    -----
    Arrays are C-contiguous. Those that may not be written to never change, so that a policy may
    keep what it works out of them for requests to come. A policy raises ValueError, naming the
    field and the rule, for those of a wrong shape or value.
    """

    quantities: NDArray[np.int64]
    available: NDArray[np.int64]
    distance_km: NDArray[np.float64]
    cost: NDArray[np.float64]
    priority: NDArray[np.int64]
    load: NDArray[np.float64]
    allow_split: bool = True
    allow_partial: bool = False
    options_max: int = 3


class Part(NamedTuple):
    """Units of one item that one place gives."""

    item: int
    place: int
    quantity: int


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve a request.

    Parameters
    ----------
    parts
        What comes from where: by the place's rank, then by item. Each place in it is one package.
    packages
        How many places give something.
    distance_km
        Sum over the packages; an unknown distance adds 0.
    cost
        Sum over the packages.
    short
        Units of each item that are not placed; all 0 unless the request allows partial.
    score
        Falls along one answer of one policy; not comparable between answers.
    why
        Reasons in plain words, the most important first.
    """

    parts: tuple[Part, ...]
    packages: int
    distance_km: float
    cost: float
    short: tuple[int, ...]
    score: float
    why: tuple[str, ...]


class Policy(Protocol):
    """Chooses the places that serve a request."""

    def rank(self, request: Request) -> list[Option]:
        """List distinct ways to serve a request, best first, at most ``options_max``.

        Returns
        -------
        list of Option
            Empty when nothing can be placed, or not everything and the request does not allow
            partial.

        Raises
        ------
        ValueError
            A field of the request breaks its rule.
        """
        ...
