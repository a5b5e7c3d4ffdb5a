"""A server of onhand with stock that does not run out, and a few hot SKUs with little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.bench_http_orders import Load, hold, place, places_of, sku
from benchmarks.kit.http_load import request
from benchmarks.peers.scramble import HOT, Sold, scramble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOLDS = "/v1/holds"


class Shop(Load):
    """``onhand serve`` as in production; ``units`` of each hot SKU are at one place."""

    def __init__(self, scratch, sku_count: int, seconds: float, rounds: int, units: int) -> None:
        self.units = units
        super().__init__(scratch, sku_count, seconds, rounds)

    def hold_requests(self) -> list[bytes]:
        """Prepare holds of one unit of one SKU each, SKUs at random."""
        return self.requests(HOLDS, map(hold, self.skus()))

    def left(self, numbers: Sequence[int]) -> list[int]:
        """Read back how many units can still be promised, by the API."""
        return [self._available(number) for number in numbers]

    def scramble(self, port: int, read_left: Callable[[Sequence[int]], list[int]]) -> Sold:
        """Have the hot SKUs fought over at this server or at another's port."""
        return scramble(port, self._hold_request, read_left, self.units)

    def _hold_request(self, number: int) -> bytes:
        return request("POST", HOLDS, msgspec.json.encode(hold(number)), self.header)

    def _available(self, number: int) -> int:
        name, _, value = self.header.strip().partition(": ")
        path = f"/v1/availability/{sku(number)}?location={place(places_of(number)[0])}"
        answer = self.server.get(path, headers={name: value})
        assert answer.is_success, answer.text
        return answer.json()["available"]

    def _fill(self) -> None:
        super()._fill()
        for number in HOT:
            at = place(places_of(number)[0])
            self.server.kit.add(sku(number), at, on_hand=self.units)
