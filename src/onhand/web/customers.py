"""Customers over HTTP: one history, a wish list, and being forgotten."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import unquote

import msgspec
from litestar import MediaType, Request, Response, delete, get, put
from litestar.params import FromPath
from msgspec import Meta, Struct

from onhand.customers.erasing import Erased, Refused
from onhand.errors import FieldError, InvalidInput
from onhand.model.availability import Band
from onhand.model.commands import Channel, Command
from onhand.model.events import Name
from onhand.model.orders import AllocationStatus, OrderStatus
from onhand.model.validate import build, check, printable
from onhand.web.auth import guard
from onhand.web.commands import commands_of
from onhand.web.documents import Document, FulfilmentDocument, Time, Units
from onhand.web.openapi import described
from onhand.web.order_pages import ID_LENGTH_MAX
from onhand.web.parameters import LIST_LIMIT_MAX, Cursor, parse_parameters
from onhand.web.problem import ProblemCode, ProblemError, decode_json, refusal_reply

if TYPE_CHECKING:
    from onhand.customers.erasing import Eraser
    from onhand.customers.history import Histories, HistoryPage
    from onhand.customers.store import CustomerStore
    from onhand.web.readside import ReadSide
    from onhand.web.services import Services

WISH_COUNT_MAX: Final = 200
BAND_SCOPE: Final = "group:all"

_encode = msgspec.json.Encoder().encode


class HistoryParameters(Struct, frozen=True):
    """Which part of a history."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_LIMIT_MAX, description="Items at most.")] = 50


class Wish(Command, frozen=True, kw_only=True):
    """A SKU that a customer wishes for."""

    sku: Name
    note: Annotated[str, Meta(min_length=1, max_length=500)] | None = None


class WishDocument(Document, frozen=True, kw_only=True):
    """A wish, and whether it can be had; `band` and `available` are of all locations together."""

    sku: str
    note: str | None = None
    band: Band | None = None
    available: Units | None = None


class HistoryLine(Document, frozen=True, kw_only=True):
    """Units of a SKU; the fields beside it are of orders."""

    sku: str
    quantity: Units
    id: str | None = None
    status: AllocationStatus | None = None
    quantities: dict[AllocationStatus, Units] | None = None
    unit_price: float | None = None


class HistoryItem(Document, frozen=True, kw_only=True):
    """An order, or what a till has told of.

    `id` is the order's or the event's. Orders have `status`, `channel` and `fulfilment`; purchases
    and returns `source`, `location` and the ids that the event names.
    """

    kind: Literal["order", "purchase", "return"]
    at: Time
    id: str
    lines: list[HistoryLine]
    status: OrderStatus | None = None
    channel: Channel | None = None
    fulfilment: FulfilmentDocument | None = None
    source: str | None = None
    location: str | None = None
    basket_id: str | None = None
    reference: str | None = None
    order_id: str | None = None
    allocation_id: str | None = None
    return_id: str | None = None
    disposition: Literal["sellable", "inspect", "damaged"] | None = None


class CustomerDocument(Document, frozen=True, kw_only=True, omit_defaults=False):
    """A customer. `name` and `email` are as the newest orders have them."""

    id: str
    name: str | msgspec.UnsetType = msgspec.UNSET
    email: str | msgspec.UnsetType = msgspec.UNSET
    wishlist: list[WishDocument]
    items: Annotated[list[HistoryItem], Meta(description="The newest first.")]
    next: str | None


class WishlistDocument(Document, frozen=True, kw_only=True, omit_defaults=False):
    """What a customer wishes for."""

    id: str
    wishlist: list[WishDocument]


class CustomerDesk:
    """What customers are read and changed with.

    Parameters
    ----------
    side
        For the bands of wishes; used by the event loop's thread alone.
    """

    def __init__(
        self, store: CustomerStore, histories: Histories, eraser: Eraser, side: ReadSide
    ) -> None:
        self._store = store
        self._histories = histories
        self._eraser = eraser
        self._side = side

    async def read(self, customer: str, asked: HistoryParameters) -> bytes:
        """Write a page of a customer's history, with the wish list.

        Of an id that nobody has named there is nothing: customers are not set up.
        """
        page, wishes = await asyncio.to_thread(self._page, customer, asked)
        wishlist = [self._wish(each) for each in wishes]
        return await asyncio.to_thread(_written, customer, page, wishlist)

    async def put_wishes(self, customer: str, wishes: tuple[Wish, ...]) -> bytes:
        """Replace a wish list; answer it.

        Raises
        ------
        ProblemError
            ``unknown_sku``, naming each that nobody has named.
        """
        tables = self._side.tables(time.time_ns() // 1000)
        unknown = [
            FieldError(f"/{index}/sku", f"no event and no set-up has named {each.sku!r}")
            for index, each in enumerate(wishes)
            if not tables.knows_sku(each.sku)
        ]
        if unknown:
            detail = "; ".join(error.detail for error in unknown)
            raise ProblemError(
                ProblemCode.UNKNOWN_SKU, f"{detail[0].upper()}{detail[1:]}.", unknown
            )
        document = _encode(wishes) if wishes else None
        now_us = time.time_ns() // 1000
        await asyncio.to_thread(self._store.put_wishes, customer, document, now_us)
        return _encode(WishlistDocument(id=customer, wishlist=[self._wish(w) for w in wishes]))

    async def erase(self, customer: str) -> bytes | ErasureRefused:
        """Erase a customer; what the order writer refuses is told as it says."""
        try:
            return _encode(await self._eraser.erase(customer))
        except Refused as refused:
            return ErasureRefused(refused.answer.document)

    def _page(self, customer: str, asked: HistoryParameters) -> tuple[HistoryPage, list[Wish]]:
        page = self._histories.page(customer, asked.cursor, asked.limit)
        document = self._store.wishes(customer)
        return page, _decode_wishes(document) if document is not None else []

    def _wish(self, wish: Wish) -> WishDocument:
        try:
            answer = self._side.answer(wish.sku, BAND_SCOPE)
        except ProblemError:
            answer = None  # Without tables a history can be read all the same.
        if answer is None:
            return WishDocument(sku=wish.sku, note=wish.note)
        return WishDocument(
            sku=wish.sku, note=wish.note, band=answer.band, available=answer.available
        )


class ErasureRefused(Struct, frozen=True):
    """Why an erasure did not come to its end; it goes on when it is asked for again."""

    document: bytes


@get("/v1/customers/{customer_id:str}", guards=[guard("associate", "orders")])
@described(parameters=HistoryParameters, answer=CustomerDocument)
async def read_customer(
    request: Request[Any, Any, Any], customer_id: FromPath[str]
) -> Response[bytes]:
    """Read a customer's history: orders, and purchases and returns in stores, the newest first.

    Orders are there once they are placed; what tills tell of follows within a second. A sale that
    hands over an order is no item of its own. An id that nobody has named has an empty history.
    """
    commands_of(request).admit(request.headers.get("authorization"), "associate", "orders")
    asked = parse_parameters(HistoryParameters, request.scope["query_string"].decode())
    document = await _desk(request).read(customer_id_of(customer_id), asked)
    return Response(document, media_type=MediaType.JSON)


@put("/v1/customers/{customer_id:str}/wishlist", guards=[guard("associate", "orders")])
@described(body=list[Wish], answer=WishlistDocument)
async def put_wishlist(
    request: Request[Any, Any, Any], customer_id: FromPath[str]
) -> Response[bytes]:
    """Replace what a customer wishes for: up to 200 SKUs, each once. An empty list removes it."""
    commands_of(request).admit(request.headers.get("authorization"), "associate", "orders")
    wishes = parse_wishes(decode_json(await request.body()))
    document = await _desk(request).put_wishes(customer_id_of(customer_id), wishes)
    return Response(document, media_type=MediaType.JSON)


@delete("/v1/customers/{customer_id:str}", guards=[guard("orders")], status_code=200)
@described(answer=Erased)
async def erase_customer(
    request: Request[Any, Any, Any], customer_id: FromPath[str]
) -> Response[bytes]:
    """Forget a customer: name, address of mail, wish list and id, wherever onhand keeps them.

    Orders, returns and purchases stay and are counted as before, under the answer's `id`, which
    says nothing of whose they were. Closed orders lose where they went to but for the region. What
    was published before stays in the event log for as long as the log keeps it.
    """
    commands_of(request).admit(request.headers.get("authorization"), "orders")
    document = await _desk(request).erase(customer_id_of(customer_id))
    if isinstance(document, ErasureRefused):
        reply = refusal_reply(document.document)
        return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))
    return Response(document, media_type=MediaType.JSON)


def parse_wishes(body: object) -> tuple[Wish, ...]:
    """Judge the body of ``PUT /v1/customers/{id}/wishlist``.

    Raises
    ------
    InvalidInput
        Naming each item, field and rule.
    """
    what = "not a valid wish list"
    if not isinstance(body, list):
        check(what, [FieldError("", "must be an array")])
        return ()
    if len(body) > WISH_COUNT_MAX:
        check(what, [FieldError("", f"must have at most {WISH_COUNT_MAX} items")])
    wishes: list[Wish] = []
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, each in enumerate(body):
        pointer = f"/{index}"
        try:
            wish = build(Wish, each, pointer=pointer, what=what)
        except InvalidInput as error:
            errors += error.errors
            continue
        errors += printable(f"{pointer}/sku", wish.sku)
        if wish.sku in seen:
            errors.append(FieldError(f"{pointer}/sku", "stands in this list before"))
        seen.add(wish.sku)
        wishes.append(wish)
    check(what, errors)
    return tuple(wishes)


def _desk(request: Request[Any, Any, Any]) -> CustomerDesk:
    services: Services = request.app.state.services
    desk = services.customer_desk
    if desk is None:
        raise AssertionError("Invariant: routes of customers are served beside an order writer")
    return desk


def customer_id_of(step: str) -> str:
    """Read a customer's id from a path.

    Raises
    ------
    ProblemError
        ``invalid_request``: it is none.
    """
    customer = unquote(step)
    if not 0 < len(customer) <= ID_LENGTH_MAX or not customer.isprintable():
        rule = f"must be 1 to {ID_LENGTH_MAX} printable characters"
        raise ProblemError(
            ProblemCode.INVALID_REQUEST, f"A customer's id {rule}.", [FieldError("/id", rule)]
        )
    return customer


def _written(customer: str, page: HistoryPage, wishlist: list[WishDocument]) -> bytes:
    named = {name: getattr(page, name) for name in ("name", "email") if getattr(page, name)}
    return _encode(
        {
            "id": customer,
            **named,
            "wishlist": wishlist,
            "items": page.items,
            "next": page.next,
        }
    )


_decode_wishes: Final = msgspec.json.Decoder(list[Wish]).decode
