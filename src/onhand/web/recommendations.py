"""Recommendations over HTTP: what goes with a SKU, and what to offer a customer."""

from __future__ import annotations

import asyncio
import time
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import unquote

from litestar import Request, get
from litestar.params import FromPath
from msgspec import Meta, Struct

from onhand.model.times import show_time
from onhand.model.validate import Text64
from onhand.recommendations.recommender import Kind, Reason, Recommended, Recommender
from onhand.recommendations.sellable import Sellable
from onhand.web.auth import guard
from onhand.web.availability import unknown_sku
from onhand.web.commands import actor_of, commands_of
from onhand.web.customers import customer_id_of
from onhand.web.documents import Document, Time, Units
from onhand.web.openapi import described
from onhand.web.parameters import parse_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onhand.metrics import Page
    from onhand.recommendations.history import History
    from onhand.recommendations.snapshot import SnapshotFollower
    from onhand.web.readside import ReadSide
    from onhand.web.services import Services

TOGETHER_ROUTE: Final = "/v1/availability/{sku}/together"
CUSTOMER_ROUTE: Final = "/v1/customers/{customer_id}/recommendations"
LIMIT_MAX: Final = 50


class TogetherParameters(Struct, frozen=True):
    """Where what goes with a SKU shall be sold."""

    location: (
        Annotated[Text64, Meta(description="Where the customer is; left out: only what ships.")]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="Items at most.")] = 10


class RecommendationParameters(Struct, frozen=True):
    """What to recommend for."""

    location: (
        Annotated[Text64, Meta(description="Where the customer is; left out: only what ships.")]
        | None
    ) = None
    basket: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=4_096,
                description="SKUs that the customer has in hand, separated by commas.",
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX, description="Items at most.")] = 10


class ReasonDocument(Document, frozen=True, kw_only=True):
    """A SKU that speaks for another one."""

    sku: str
    score: Annotated[float, Meta(description="Its part of the score.")]
    together: Annotated[float, Meta(description="Baskets with both, fading with time.")]
    baskets: Annotated[float, Meta(description="Baskets with it, fading with time.")]


class RecommendedItem(Document, frozen=True, kw_only=True):
    """A SKU that can be sold now."""

    sku: str
    name: str | None = None
    category: str | None = None
    kind: Annotated[
        Kind, Meta(description="`popular`: nothing speaks for it but that it is bought much.")
    ]
    score: Annotated[float, Meta(description="Falls along one answer; no other can be compared.")]
    available: Annotated[int, Meta(ge=0, description="Units at the location.")]
    shippable: Annotated[
        int, Meta(ge=0, description="Units that ship, when there are none at the location.")
    ]
    because: tuple[ReasonDocument, ...] = ()


class Together(Document, frozen=True, kw_only=True, omit_defaults=False):
    """What is bought together with a SKU, the best first."""

    sku: str
    location: str | None
    items: list[RecommendedItem]
    learnt_to: Annotated[
        Time | None, Meta(description="When the newest basket was bought; null before the first.")
    ]


class Recommendations(Document, frozen=True, kw_only=True, omit_defaults=False):
    """What to offer a customer, the best first."""

    customer: str
    location: str | None
    based_on: Annotated[Units, Meta(description="SKUs bought lately or in hand; 0 of a stranger.")]
    items: list[RecommendedItem]
    learnt_to: Annotated[
        Time | None, Meta(description="When the newest basket was bought; null before the first.")
    ]


class Recommending:
    """Recommends over HTTP; used by the event loop's thread alone.

    Parameters
    ----------
    side
        Tables and set-up.
    follower
        Of what is learnt.
    history
        What customers bought; None where no orders are taken.
    """

    def __init__(
        self, side: ReadSide, follower: SnapshotFollower, page: Page, history: History | None
    ) -> None:
        self.recommender = Recommender(follower)
        self._side = side
        self._history = history
        self._sellable: Sellable | None = None
        self._together_seconds = page.histogram("onhand_read_seconds", TOGETHER_ROUTE)
        self._customer_seconds = page.histogram("onhand_read_seconds", CUSTOMER_ROUTE)

    def together(self, sku: str, asked: TogetherParameters) -> Together:
        """List what is bought together with a SKU.

        Raises
        ------
        ProblemError
            Nobody knows the SKU or the location, or there is no table.
        """
        begun_s = perf_counter()
        self._must_know(asked.location)
        if not self._side.tables(_now_us()).knows_sku(sku):
            raise unknown_sku(sku)
        items = self._items([sku], asked.location, asked.limit, popular=False)
        answer = Together(sku=sku, location=asked.location, items=items, learnt_to=self.learnt_to())
        self._together_seconds.observe(perf_counter() - begun_s)
        return answer

    async def for_customer(self, customer: str, asked: RecommendationParameters) -> Recommendations:
        """List what to offer a customer, by what is in hand and what was bought lately.

        Raises
        ------
        ProblemError
            Nobody knows the location, or there is no table.
        LedgerUnavailable
            What was bought cannot be read.
        """
        begun_s = perf_counter()
        self._must_know(asked.location)
        basket = [sku for sku in (asked.basket or "").split(",") if sku]
        if self._history is not None:
            basket += await asyncio.to_thread(self._history.recent_skus, customer)
        basket = list(dict.fromkeys(basket))
        items = self._items(basket, asked.location, asked.limit, popular=True)
        answer = Recommendations(
            customer=customer,
            location=asked.location,
            based_on=len(basket),
            items=items,
            learnt_to=self.learnt_to(),
        )
        self._customer_seconds.observe(perf_counter() - begun_s)
        return answer

    def sellable(self) -> Sellable:
        """Return what can be sold, by the tables and the set-up of now.

        Raises
        ------
        ProblemError
            There is no table.
        """
        tables = self._side.tables(_now_us())
        if self._sellable is None or self._sellable.setup is not self._side.setup:
            self._sellable = Sellable(tables, self._side.setup)
        return self._sellable

    def learnt_to(self) -> str | None:
        """Say when the newest basket was bought that recommendations know of."""
        snapshot = self.recommender.snapshot()
        if snapshot is None or not snapshot.meta.basket_count:
            return None
        return show_time(snapshot.meta.newest_us)

    def _items(
        self, basket: Sequence[str], location: str | None, limit: int, *, popular: bool
    ) -> list[RecommendedItem]:
        found = self.recommender.recommend(
            basket, self.sellable(), location=location, limit=limit, popular=popular
        )
        return [self._item(each) for each in found]

    def _item(self, found: Recommended) -> RecommendedItem:
        known = self._side.setup.skus.get(found.sku)
        return RecommendedItem(
            sku=found.sku,
            name=known.name if known is not None else None,
            category=known.category if known is not None else None,
            kind=found.kind,
            score=found.score,
            available=found.available,
            shippable=found.shippable,
            because=tuple(map(_reason, found.because)),
        )

    def _must_know(self, location: str | None) -> None:
        if location is not None:
            self._side.must_know_location(location)


@get("/v1/availability/{sku:str}/together", guards=[guard("storefront")])
@described(parameters=TogetherParameters, answer=Together)
async def read_together(request: Request[Any, Any, Any], sku: FromPath[str]) -> Together:
    """List what is bought together with a SKU and can be sold now, the best first, and why.

    Sold now is what the location has, or what can be shipped.
    """
    services: Services = request.app.state.services
    asked = parse_parameters(TogetherParameters, request.scope["query_string"].decode())
    return services.recommending.together(unquote(sku), asked)


@get("/v1/customers/{customer_id:str}/recommendations", guards=[guard("associate", "orders")])
@described(parameters=RecommendationParameters, answer=Recommendations)
async def recommend_to_customer(
    request: Request[Any, Any, Any], customer_id: FromPath[str]
) -> Recommendations:
    """Recommend what a customer can buy now, by what was bought lately and is in hand, and why.

    What the location has, or what can be shipped; nothing that was bought lately or is in hand.
    What is bought most follows where that says too little, and is all that a stranger gets.
    """
    services: Services = request.app.state.services
    grant = commands_of(request).admit(request.headers.get("authorization"), "associate", "orders")
    asked = parse_parameters(RecommendationParameters, request.scope["query_string"].decode())
    if asked.location is not None:
        actor_of(grant).must_work_at(asked.location)
    return await services.recommending.for_customer(customer_id_of(customer_id), asked)


def _reason(reason: Reason) -> ReasonDocument:
    return ReasonDocument(
        sku=reason.sku, score=reason.score, together=reason.together, baskets=reason.baskets
    )


def _now_us() -> int:
    return time.time_ns() // 1000
