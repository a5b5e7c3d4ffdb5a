"""What the flow does with events: each test runs the real flow over a real log."""

from __future__ import annotations

import msgspec
import pytest

from tests.dataflows.draining import at, drain, publish, records_of, sale

HOUR_S = 3_600


def refused_codes(settings):
    return sorted(
        dict(record.headers)["onhand.code"].decode()
        for record in records_of(settings, "stock.dead-letters")
    )


def test_events_of_every_topic_end_in_one_table(settings):
    """Sales, receipts, transfers, returns and counts of one cell add up."""
    publish(settings, [sale(1, 3)])
    publish(settings, [sale(2, 10) | {"type": "receipt"}], "stock.receipts")
    publish(
        settings,
        [sale(3, 2) | {"type": "transfer_shipped", "transfer_id": "t", "from": "S", "to": "T"}],
        "stock.transfers",
    )
    publish(settings, [sale(4, 1) | {"type": "return", "disposition": "inspect"}], "stock.returns")
    assert drain(settings) == {("A", "S"): (5, 1, 0, 0), ("A", "T"): (0, 0, 2, 0)}


def test_the_same_event_twice_counts_once_across_restarts(settings):
    """A repeated (source, id) changes nothing, in the same run or the next."""
    publish(settings, [sale(1), sale(1), sale(2)])
    assert drain(settings) == {("A", "S"): (-2, 0, 0, 0)}
    publish(settings, [sale(2), sale(1), sale(3)], "stock.counts")
    assert drain(settings) == {("A", "S"): (-3, 0, 0, 0)}


def test_a_count_keeps_what_was_sold_after_it_whatever_came_first(settings):
    """A count of an hour ago that arrives last leaves later sales applied."""
    publish(settings, [sale(1, 2, occurred_at=at(60)), sale(2, 5, occurred_at=at(2 * HOUR_S))])
    publish(settings, [sale(3, 20, occurred_at=at(HOUR_S)) | {"type": "count"}], "stock.counts")
    assert drain(settings) == {("A", "S"): (18, 0, 0, 0)}


def test_what_cannot_be_read_is_kept_with_its_reason_and_stops_nothing(settings):
    """Rubbish goes whole to the dead letters, origin and rule with it; the rest is applied."""
    rubbish = [
        (b"{", "malformed_json"),
        (b"[]", "not_an_object"),
        (sale(11, type="sail"), "unknown_type"),
        (sale(12, 0), "out_of_range"),
        (sale(13, -4), "out_of_range"),
        (sale(14, 1.5), "wrong_type"),
        (sale(15, 1 << 31), "out_of_range"),
        (sale(16, sku=""), "empty_id"),
        (sale(17, location="x" * 65), "too_long"),
        (sale(18, occurred_at="2026-01-01T00:00:00"), "bad_time"),
        (sale(19, occurred_at=at(73 * HOUR_S)), "too_late"),
        (sale(20, occurred_at=at(-120)), "clock_ahead"),
        (sale(21, 5, occurred_at=at(25 * HOUR_S)) | {"type": "count"}, "count_too_old"),
        (
            sale(22) | {"type": "transfer_shipped", "transfer_id": "t", "from": "S", "to": "S"},
            "same_location",
        ),
    ]
    publish(settings, [value for value, _ in rubbish])
    publish(settings, [sale(1)])
    assert drain(settings) == {("A", "S"): (-1, 0, 0, 0)}
    assert refused_codes(settings) == sorted(code for _, code in rubbish)
    letters = records_of(settings, "stock.dead-letters")
    assert {letter.value for letter in letters} == {
        value if isinstance(value, bytes) else msgspec.json.encode(value) for value, _ in rubbish
    }


def test_a_batch_with_one_bad_line_is_refused_whole(settings):
    """Lines are accepted all or none."""
    basket = sale(1)
    del basket["sku"], basket["quantity"]
    basket["lines"] = [{"sku": "A", "quantity": 1}, {"sku": "B", "quantity": 0}]
    publish(settings, [basket])
    assert drain(settings) == {}
    assert refused_codes(settings) == ["out_of_range"]


def test_an_event_too_large_is_cut_and_named_by_its_hash(settings):
    """A value of 1 MiB and a byte is refused; what fits of it is kept with its SHA-256."""
    value = msgspec.json.encode(sale(1, attributes={"note": "x" * (1 << 20)}))
    publish(settings, [value])
    assert drain(settings) == {}
    assert refused_codes(settings) == ["too_large"]


def test_claims_move_nothing_and_are_passed_on_untouched(settings):
    """A sale that names an allocation, a return that names an order: stock.claims, no movement."""
    claims = [
        sale(1, allocation_id="a-1"),
        sale(2, order_id="o-1") | {"type": "return", "disposition": "sellable"},
    ]
    publish(settings, [*claims, sale(3)])
    assert drain(settings) == {("A", "S"): (-1, 0, 0, 0)}
    passed = {record.value for record in records_of(settings, "stock.claims")}
    assert passed == {msgspec.json.encode(claim) for claim in claims}


def test_ledger_events_apply_once_by_their_sequence(settings):
    """The same sequence again changes nothing, under another id too."""
    publish(settings, [sale(1, sequence=1), sale(2, sequence=2)], "stock.ledger")
    assert drain(settings) == {("A", "S"): (-2, 0, 0, 0)}
    publish(settings, [sale(9, sequence=2), sale(3, sequence=3)], "stock.ledger")
    assert drain(settings) == {("A", "S"): (-3, 0, 0, 0)}


@pytest.mark.parametrize("code", ["too_late", "clock_ahead", "count_too_old"])
def test_a_person_may_force_what_time_refused(settings, code):
    """A record with the header onhand-force is not refused by the rule it names."""
    event = {
        "too_late": sale(1, 4, occurred_at=at(73 * HOUR_S)),
        "clock_ahead": sale(1, 4, occurred_at=at(-120)),
        "count_too_old": sale(1, 4, occurred_at=at(25 * HOUR_S)) | {"type": "count"},
    }[code]
    publish(settings, [event], headers=[("onhand-force", code.encode())])
    assert drain(settings) == {("A", "S"): (4 if code == "count_too_old" else -4, 0, 0, 0)}


@pytest.mark.parametrize(("workers", "shards"), [(2, 1), (1, 3), (3, 2)])
def test_workers_and_shards_do_not_change_the_numbers(settings, workers, shards):
    """Events spread over workers, lines of one event over shards: the same table."""
    wide = msgspec.structs.replace(settings, worker_count=workers, shard_count=shards)
    baskets = []
    for number in range(50):
        basket = sale(number)
        del basket["sku"], basket["quantity"]
        basket["lines"] = [{"sku": f"sku-{n}", "quantity": n + 1} for n in range(20)]
        baskets.append(basket)
    publish(wide, baskets)
    publish(wide, baskets[:10], "stock.returns")
    expected = {(f"sku-{n}", "S"): (-50 * (n + 1), 0, 0, 0) for n in range(20)}
    assert drain(wide) == expected
    assert drain(wide) == expected


def test_loading_history_needs_no_checkpoint_to_make_room(settings):
    """Movements too old for any count leave the history by themselves; newer ones stay in it."""
    loading = msgspec.structs.replace(
        settings,
        late_window=None,
        # Kafka's reader knows how far it is only after 100 ms; until then it needs room.
        history_max=1 << (12 if settings.kafka is None else 14),
        poll_record_count_max=250,
        checkpoint_interval_s=3_600,
    )
    recent = [sale(n, occurred_at=at(60)) for n in range(100)]
    old = [sale(n, occurred_at=at(48 * HOUR_S)) for n in range(1_000, 9_000)]
    publish(loading, old[:4_000])
    publish(loading, [*old[4_000:], *recent])
    assert drain(loading) == {("A", "S"): (-8_100, 0, 0, 0)}
    if loading.kafka is None:
        assert len(list((loading.data / "checkpoints/shard-000").glob("*.ohck"))) == 1
    publish(loading, [sale(1, 500, id="count", occurred_at=at(HOUR_S)) | {"type": "count"}])
    assert drain(loading) == {("A", "S"): (400, 0, 0, 0)}


def test_a_claim_whose_headers_do_not_fit_is_a_dead_letter(settings):
    """A claim fits its topic or is refused whole; the flow goes on either way."""
    headers = [("note", b"x" * (1 << 20))]
    publish(settings, [sale(1, allocation_id="a-1")], headers=headers)
    publish(settings, [sale(2)])
    assert drain(settings) == {("A", "S"): (-1, 0, 0, 0)}
    assert refused_codes(settings) in ([], ["too_large"])
    assert len(records_of(settings, "stock.claims")) + len(refused_codes(settings)) == 1
