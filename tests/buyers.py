"""Customers of a real server over HTTP: each request has a key and is sent until it is answered."""

import asyncio
import random
import time
import uuid

import httpx

ANSWER_S_MAX = 90
"""How long a request is sent again: a server that was killed is back long before."""

PASSING = frozenset({429, 500, 502, 503, 504})


class Request:
    """What was asked under one key, and what was answered."""

    def __init__(self, method, path, body, answer):
        self.method, self.path, self.body = method, path, body
        self.status = answer.status_code
        self.document = answer.json()
        self.key = answer.request.headers["idempotency-key"]


class Buyer:
    """One customer, with a connection of its own.

    Parameters
    ----------
    seed
        Decides whatever the customer decides.
    acknowledge
        Called with every request that was carried out.
    """

    def __init__(self, url, seed, acknowledge=lambda _request: None):
        self.client = httpx.AsyncClient(base_url=url, timeout=20)
        self.chance = random.Random(seed)
        self.acknowledge = acknowledge
        self.requests = []
        """All that were answered."""

    async def send(self, method, path, body=None):
        """Send a request, again and again under its key, until it is answered for good."""
        key = uuid.UUID(int=self.chance.getrandbits(128)).hex
        give_up_s = time.monotonic() + ANSWER_S_MAX
        while True:
            answer = await self._try(method, path, body, key)
            if answer is not None and answer.status_code not in PASSING:
                break
            said = "no answer" if answer is None else answer.text
            assert time.monotonic() < give_up_s, f"{method} {path}: {said}"
            await asyncio.sleep(self.chance.uniform(0.02, 0.2))
        request = Request(method, path, body, answer)
        self.requests.append(request)
        if answer.is_success:
            self.acknowledge(request)
        return request

    async def hold(self, sku, quantity, **place):
        """Hold units; None when there are not as many."""
        line = {"sku": sku, "quantity": quantity, **place}
        return self._had(await self.send("POST", "/v1/holds", {"lines": [line], "ttl_s": 14_400}))

    async def order(self, sku, quantity, fulfilment, **fields):
        """Order units; None when there are not as many."""
        lines = [{"sku": sku, "quantity": quantity}]
        body = {"lines": lines, "fulfilment": fulfilment, **fields}
        return self._had(await self.send("POST", "/v1/orders", body))

    async def close(self):
        await self.client.aclose()

    async def _try(self, method, path, body, key):
        try:
            return await self.client.request(
                method, path, json=body, headers={"idempotency-key": key}
            )
        except httpx.TransportError:
            return None

    @staticmethod
    def _had(request):
        if request.status == httpx.codes.CREATED:
            return request.document
        assert request.status == httpx.codes.CONFLICT, request.document
        assert request.document["code"] == "insufficient_stock", request.document
        return None


def repeated(url, requests):
    """Send requests once more under their keys; list those that are answered otherwise."""
    changed = []
    with httpx.Client(base_url=url, timeout=20) as client:
        for each in requests:
            headers = {"idempotency-key": each.key}
            answer = client.request(each.method, each.path, json=each.body, headers=headers)
            if (answer.status_code, answer.json()) != (each.status, each.document):
                changed.append((each.document, answer.json()))
    return changed
