"""Reads by the clock: single ones, queries, stores near by, and clients that follow the stream."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import msgspec

from benchmarks.soak.client import Client, Reply, Said, Shift, by_the_clock
from benchmarks.soak.latencies import Latencies

CONNECTIONS = 128
STREAM_COUNT, STREAM_SKUS = 10, 20
_AGE = re.compile(rb'"age_ms":(\d+)')


class Reading(msgspec.Struct):
    """What readers were told."""

    latencies: Any
    said: Said
    read_count: int = 0
    streamed_count: int = 0


def read(shift: Shift) -> Reading:
    """Read; return what was answered."""
    return asyncio.run(_Readers(shift).run(shift))


class _Readers:
    def __init__(self, shift: Shift) -> None:
        self.client = Client(shift.port, CONNECTIONS, Latencies(shift.begun_s))
        self.reading = Reading(self.client.latencies, self.client.said)
        self._port, self._world = shift.port, shift.world
        self._chance = random.Random(21)
        self._kinds = {
            self._single: 0.70,
            self._query: 0.12,
            self._nearby: 0.08,
            self._detail: 0.06,
            self._aisle: 0.02,
            self._together: 0.02,
        }

    async def run(self, shift: Shift) -> Reading:
        streams = [asyncio.ensure_future(self._follow()) for _ in range(STREAM_COUNT)]
        await by_the_clock(shift, shift.rate, self._read, self.client)
        for stream in streams:
            stream.cancel()
        for ended in await asyncio.gather(*streams, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                self.client.said.note_unexpected("stream ended", str(ended))
        await self.client.close()
        return self.reading

    async def _read(self, due_s: float) -> None:
        (kind,) = self._chance.choices(list(self._kinds), list(self._kinds.values()))
        reply = await kind(due_s)
        self.reading.read_count += reply.is_success

    def _sku(self) -> str:
        return self._world.sku(self._world.draw(self._chance))

    def _place(self) -> str:
        return self._chance.choice(self._world.stores())

    async def _single(self, due_s: float) -> Reply:
        number = self._world.draw(self._chance)
        scope = self._chance.choice(
            ("", "?group=online", f"?location={self._world.store_of(number, 3)}")
        )
        path = f"/v1/availability/{self._world.sku(number)}{scope}"
        reply = await self.client.ask("read one", "GET", path, due_s=due_s)
        if age := _AGE.search(reply.body):
            self.client.latencies.observe("age of answers", due_s, int(age[1]) / 1000)
        return reply

    async def _detail(self, due_s: float) -> Reply:
        path = f"/v1/availability/{self._sku()}?detail=locations"
        return await self.client.ask("read all places", "GET", path, due_s=due_s)

    async def _query(self, due_s: float) -> Reply:
        skus = [self._sku() for _ in range(self._chance.randint(5, 100))]
        where: dict[str, Any] = {"group": "online"}
        if self._chance.random() < 0.3:
            where = {"locations": [self._place() for _ in range(3)]}
        body = msgspec.json.encode({"skus": skus} | where)
        path = "/v1/availability/query"
        return await self.client.ask("query", "POST", path, body, due_s=due_s)

    async def _nearby(self, due_s: float) -> Reply:
        latitude, longitude = self._chance.uniform(47, 53), self._chance.uniform(6, 14)
        near = f"latitude={latitude:.3f}&longitude={longitude:.3f}&radius_km=200"
        path = f"/v1/availability/{self._sku()}/nearby?{near}&limit=10&pickup=true"
        return await self.client.ask("nearby", "GET", path, due_s=due_s)

    async def _aisle(self, due_s: float) -> Reply:
        path = f"/v1/aisle/{self._sku()}?location={self._place()}&latitude=50&longitude=9"
        return await self.client.ask("aisle", "GET", path, due_s=due_s)

    async def _together(self, due_s: float) -> Reply:
        path = f"/v1/availability/{self._sku()}/together?location={self._place()}"
        return await self.client.ask("together", "GET", path, due_s=due_s)

    async def _follow(self) -> None:
        """Follow some SKUs for as long as the load goes on; a stream that ends is a fault."""
        skus = ",".join(self._sku() for _ in range(STREAM_SKUS))
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        path = f"/v1/availability/stream?skus={skus}&group=all"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: soak\r\n\r\n".encode())
        try:
            while line := await reader.readline():
                self.reading.streamed_count += line.startswith(b"event:")
        finally:
            writer.close()
        raise ConnectionError("the server ended a stream")
