"""The end of a run: the trouble is over, everything comes to rest, and everything must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from onhand.ingest.verify import compare_tables
from onhand.ledger.order_reads import OrderReads
from onhand.ledger.rows import HoldRow
from onhand.log.topics import LEDGER, ORDER_EVENTS
from onhand.model.check import Refused
from onhand.orders import claims
from onhand.simulation.faults import must
from onhand.simulation.shelf import Shelf
from onhand.table.reader import TableReader
from onhand.writer.claims_feed import key_of
from onhand.writer.verify import compare_demand

if TYPE_CHECKING:
    from onhand.simulation.world import World
    from onhand.simulation.writer import WriterProcess

ROUNDS_MAX: Final = 60
TICK_US: Final = 1_100_000
EXPIRED_US: Final = 2 * TICK_US
"""How long after its end a hold may still be there."""


def come_to_rest(world: World) -> None:
    """Let everybody do what is left, without faults, until nothing is left."""
    world.log.down = world.ledger.down = 0
    for clock in (world.log_clock, world.ingest_clock, world.writer_clock):
        clock.offset_us = 0
    for writer in sorted(world.writers, key=lambda each: each.epoch)[:-1]:
        world.kill_writer(writer)
    for _ in range(ROUNDS_MAX):
        _go_round(world)
        world.check_quiet()
        if _is_at_rest(world):
            return
    must(False, "everything comes to rest", _what_is_left(world))


def check_end(world: World) -> None:
    """Compare the tables, the log, the ledger and what clients were told with each other."""
    _check_log(world)
    _check_shelves(world)
    _check_ledger(world)
    _check_claims(world)
    _check_movements(world)
    _verify(world)


def _go_round(world: World) -> None:
    world.timeline.advance(TICK_US)
    for till in world.tills:
        while till.unsent:
            till.send(world.log)
    _apply_all(world)
    if not world.writers:
        world.open_writer()
    for writer in list(world.writers):
        _decide_all(world, writer)
    for storefront in world.storefronts:
        storefront.look()


def _apply_all(world: World) -> None:
    if world.ingest is None:
        world.open_ingest()
    if world.ingest is None:
        return
    for lane in range(world.ingest.engine.lane_count):
        world.ingest.poll(lane)
    for number in range(world.settings.shard_count):
        while world.apply(number) != "nothing":
            pass


def _decide_all(world: World, writer: WriterProcess) -> None:
    for ask in world.clients.take_idle():
        writer.ask(ask)
    world.turn(writer, "turn")
    if writer.is_alive:
        world.turn(writer, "claims")
        writer.send(LEDGER)
        writer.send(ORDER_EVENTS)


def _is_at_rest(world: World) -> bool:
    return not any(_what_is_left(world).values())


def _what_is_left(world: World) -> dict[str, bool]:
    ingest = world.ingest
    writer = world.newest_writer()
    return {
        "tills": any(till.unsent for till in world.tills),
        "ingest": ingest is None or not ingest.is_idle(),
        "clients": bool(world.clients.take_idle()) or writer is None or bool(writer.asks),
        "outbox": not world.is_all_sent(),
        "claims": _undecided(world) > 0,
        "in flight": world.applied() < len(world.promised.movements),
    }


def _undecided(world: World) -> int:
    return sum(key not in world.promised.answers for key in _claim_keys(world))


def _claim_keys(world: World) -> set[bytes]:
    keys = set()
    for record in world.claim_records():
        try:
            keys.add(key_of(claims.parse(record.value, record.headers)))
        except Refused:
            continue
    return keys


def _check_log(world: World) -> None:
    """Every acknowledged event is in the log, and what it caused is, too."""
    for till in world.tills:
        for named in till.acknowledged:
            must(named in world.judged.ids, "what is acknowledged is in the log", named)
    for each in world.judged.all():
        if each.verdict != "event":
            must(each.is_passed_on, "nothing is dropped in silence", each.record)


def _check_shelves(world: World) -> None:
    """Every shard has applied everything, and together they have every cell."""
    shelf = Shelf()
    for each in world.judged.all():
        if each.verdict == "event":
            shelf.give(each.event)
    reader = TableReader(world.settings.table_dir, world.directory.cluster_id)
    reader.refresh()
    found = {}
    for skus, places, columns in reader.cells():
        names = ("on_hand", "held", "in_transit", "damaged")
        for sku, place, *numbers in zip(
            *(columns[name].tolist() for name in ("sku", "location", *names)), strict=True
        ):
            if any(numbers):
                found[skus[sku], places[place]] = tuple(numbers)
    must(found == shelf.cells(), "the shelf is what the log says", found, shelf.cells())


def _check_ledger(world: World) -> None:
    """Find what a commit wrote, or a client was told, that the ledger does not have."""
    reads = OrderReads(world.ledger)
    promised = world.promised
    is_open: dict[str, set[str]] = {"hold": set(), "order": set()}
    for row in reads.load_open():
        kind, kept = (
            ("hold", promised.hold_rows)
            if isinstance(row, HoldRow)
            else ("order", promised.order_rows)
        )
        is_open[kind].add(row.id)
        must(kept.get(row.id) == row.document, "the ledger has what was committed", row.id)
    active = {its_id for its_id, each in promised.holds.items() if each["status"] == "active"}
    must(is_open["hold"] == active, "every active hold is there", is_open["hold"] ^ active)
    now_us = world.writer_clock()
    for hold_id in active:
        expires_us = promised.holds[hold_id]["expires_us"]
        must(expires_us > now_us - EXPIRED_US, "what has run out is released", hold_id)
    for ask in world.clients.settled:
        _check_survived(world, ask.answer.document if ask.answer else b"{}", ask.asked.what)


def _check_survived(world: World, document: bytes, what: str) -> None:
    """Find an acknowledged hold or order that is not in the ledger."""
    answer = msgspec.json.decode(document)
    known = {"place_hold": world.promised.holds, "place_order": world.promised.orders}.get(what)
    if known is not None and "id" in answer:
        must(answer["id"] in known, "what is acknowledged survives", answer)


def _check_claims(world: World) -> None:
    must(_undecided(world) == 0, "every claim is decided")


def _check_movements(world: World) -> None:
    """Find units that left or came back without supply being told of it, or told of it twice."""
    told: dict[tuple[str, str, str], int] = {}
    for movement in world.promised.movements:
        event = movement.event
        kind = event["type"] + event.get("disposition", "")
        for line in event["lines"]:
            _add(
                told,
                (kind, line["sku"], event["location"]),
                line.get("quantity", line.get("delta")),
            )
    due: dict[tuple[str, str, str], int] = {}
    for each in world.promised.allocations():
        _add(due, ("sale", each["sku"], each["location"]), each["handed"] - each["told_by_till"])
        _add(due, ("adjustment", each["sku"], each["location"]), -each["short"])
    seen = set()
    for record in world.claim_records():
        claim = claims.parse(record.value, record.headers)
        if (claim.source, claim.id) not in seen:
            seen.add((claim.source, claim.id))
            for sku, units in claim.lines:
                _add(due, (claim.type + (claim.disposition or ""), sku, claim.location), units)
    must(_whole(told) == _whole(due), "every unit is told of once", _whole(told), _whole(due))


def _add(sums: dict[tuple[str, str, str], int], key: tuple[str, str, str], units: int) -> None:
    sums[key] = sums.get(key, 0) + units


def _whole(sums: dict[tuple[str, str, str], int]) -> dict[tuple[str, str, str], int]:
    return {key: units for key, units in sums.items() if units}


def _verify(world: World) -> None:
    """Compare as ``onhand verify`` does."""
    reader = TableReader(world.settings.table_dir, world.directory.cluster_id)
    verified = compare_tables(
        world.settings,
        world.log,
        world.directory.cluster_id,
        lambda _done, _total: None,
    )
    must(not verified.differences, "verify finds no difference", *verified.differences)
    promised = compare_demand(reader, OrderReads(world.ledger), lambda _count: None)
    must(promised.is_live, "what is promised is published")
    must(not promised.differences, "verify finds no promise that differs", *promised.differences)
