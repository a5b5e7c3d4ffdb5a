"""What customers buy and bring back in stores, as the events of tills tell it.

Of all stock events these are the sales and returns that name a customer or a receipt; most others
are told apart by their bytes alone. An event counts when ingest takes it: what ingest refuses was
never sold, and comes again under the same id once somebody has put it right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from onhand.ingest.decode import Window, judge_record
from onhand.model.check import Refused
from onhand.model.envelope import FORCE_HEADER, read_event
from onhand.model.events import EVENT_BYTES_MAX, Id, Line, Lines, Name, Quantity
from onhand.model.times import parse_time

if TYPE_CHECKING:
    from onhand.log.base import Headers, RawBatch
    from onhand.settings import Settings

Kind = Literal["purchase", "return"]

_KINDS: Final[dict[str, Kind]] = {"sale": "purchase", "return": "return"}
_NAMES: Final = ("customer_id", "basket_id", "reference")

_ENVELOPE: Final = frozenset({FORCE_HEADER, "content-type", "ce_specversion"})
"""Headers that change how a value is read or judged."""


class Details(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of an event beside the columns that it is found by.

    ``lines`` are pairs of SKU and units.
    """

    lines: list[tuple[str, int]]
    order_id: str | None = None
    allocation_id: str | None = None
    return_id: str | None = None
    disposition: str | None = None


class PurchaseRow(NamedTuple):
    """A row of ``purchase``, its number apart; the fields are the columns in their order."""

    kind: Kind
    source: str
    event_id: str
    customer: str | None
    basket_id: str | None
    reference: str | None
    location: str
    occurred_us: int
    appended_us: int
    document: bytes


def window_of(settings: Settings) -> Window:
    """Say how old events may be, as ingest judges them."""
    return Window(late_us=settings.late_us, count_us=settings.count_us, ahead_us=settings.ahead_us)


def read_purchases(raw: RawBatch, window: Window) -> list[PurchaseRow]:
    """Pick the purchases and returns out of a poll of the stock topics.

    Notes
    -----
    Below 1 us for an event that names neither customer nor receipt, some 10 us for one that does.
    """
    found = []
    for index, value in enumerate(raw.values):
        if _may_be_one(value):
            headers = raw.headers[index] if raw.headers is not None else None
            purchase = read_purchase(value, headers or (), int(raw.append_us[index]), window)
            if purchase is not None:
                found.append(purchase)
    return found


def read_purchase(
    value: bytes, headers: Headers, append_us: int, window: Window
) -> PurchaseRow | None:
    """Read one record of a stock topic; None when it is no purchase, or ingest refuses it."""
    if len(value) <= EVENT_BYTES_MAX and _ENVELOPE.isdisjoint(name for name, _ in headers):
        try:
            event = _decode(value)
            return _laid_out(event, _judged(event, append_us, window), append_us)
        except (msgspec.MsgspecError, ValueError):
            pass  # So it seems; the slow way defines what is right.
    try:
        judged = judge_record(value, headers, append_us, window)
    except Refused:
        return None
    if judged.type not in _KINDS:
        return None
    found, _ = read_event(value, headers)
    fields: dict[str, Any] = found if isinstance(found, dict) else {}
    kept = {name: fields.get(name) for name in _KEPT}
    lines = [Line(*pair) for pair in zip(judged.skus, judged.quantities, strict=True)]
    event = _Event(judged.type, judged.id, judged.source, "", judged.location, lines=lines, **kept)
    return _laid_out(event, judged.occurred_us, append_us)


class _Event(Struct, gc=False):
    """The fields of a sale or return that matter here; ``type`` says whether it is one.

    ``specversion`` and ``attributes`` are there for what they say of an event that is not plain.
    """

    type: str
    id: Id
    source: Id
    occurred_at: str
    location: Name | None = None
    sku: Name | None = None
    quantity: Quantity | None = None
    lines: Lines | None = None
    customer_id: Id | None = None
    basket_id: Id | None = None
    reference: Id | None = None
    order_id: Id | None = None
    allocation_id: Id | None = None
    return_id: Id | None = None
    disposition: Literal["sellable", "inspect", "damaged"] | None = None
    specversion: msgspec.Raw | None = None
    attributes: dict[str, msgspec.Raw] | None = None


_decode: Final = msgspec.json.Decoder(_Event).decode
_encode: Final = msgspec.json.Encoder().encode
_KEPT: Final = (*_NAMES, "order_id", "allocation_id", "return_id", "disposition")


def _may_be_one(value: bytes) -> bool:
    # Spelt out: it is asked of every stock event. Escapes and encodings may hide the names.
    return (b"customer_id" in value or b"basket_id" in value or b"reference" in value) or (
        b"\\u" in value or b"data_base64" in value
    )


def _judged(event: _Event, append_us: int, window: Window) -> int:
    """Return when an event occurred that breaks no rule for sure.

    Raises
    ------
    ValueError
        It may break one.
    """
    if event.type not in _KINDS:
        return 0
    is_whole = event.lines is not None and event.sku is None and event.quantity is None
    is_single = event.lines is None and event.sku is not None and event.quantity is not None
    is_return = event.type == "return"
    if not (is_whole or is_single) or event.location is None or event.specversion is not None:
        raise ValueError
    if is_return != (event.disposition is not None):
        raise ValueError
    texts = [event.location, *(sku for sku, _ in _lines(event))]
    occurred_us = parse_time(event.occurred_at)
    age_us = append_us - occurred_us
    is_late = -age_us > window.ahead_us or 0 <= window.late_us < age_us
    if is_late or not "".join(texts).isprintable():
        raise ValueError
    return occurred_us


def _laid_out(event: _Event, occurred_us: int, append_us: int) -> PurchaseRow | None:
    kind = _KINDS.get(event.type)
    customer, basket_id, reference = map(_shown, [getattr(event, name) for name in _NAMES])
    if kind is None or (customer is None and basket_id is None and reference is None):
        return None
    details = Details(
        lines=_lines(event),
        order_id=event.order_id,
        allocation_id=event.allocation_id if kind == "purchase" else None,
        return_id=event.return_id if kind == "return" else None,
        disposition=event.disposition if kind == "return" else None,
    )
    return PurchaseRow(
        kind,
        _stored(event.source),
        _stored(event.id),
        customer,
        basket_id,
        reference,
        event.location or "",
        occurred_us,
        append_us,
        _encode(details),
    )


def _lines(event: _Event) -> list[tuple[str, int]]:
    if event.lines is None:
        return [(event.sku or "", event.quantity or 0)]
    return [(line.sku, line.quantity) for line in event.lines]


def _shown(name: str | None) -> str | None:
    # What cannot be printed cannot be asked for either.
    return name if name and name.isprintable() else None


def _stored(name: str) -> str:
    return name.replace("\0", "\ufffd")  # PostgreSQL has no such character.
