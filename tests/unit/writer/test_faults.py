"""The order writer when its database is lost, slow or silent, or another writer takes over."""

import contextlib
import json
import os
import threading
import time
from urllib.parse import urlsplit, urlunsplit

import pytest

from onhand.errors import AlreadyRunning, LedgerUnavailable
from onhand.log.base import NewRecord
from onhand.log.topics import CLAIMS
from onhand.writer.intake import Intake
from onhand.writer.writer import OrderWriter
from tests.deployments import wait_until
from tests.proxies import Proxy
from tests.servers import event
from tests.writers import Deployment, code, fail_commit, hold_of, lose_answer, lose_request

KEY = b"k" * 16


@pytest.fixture
def proxied(tmp_path, postgres_url, monkeypatch):
    """Give a deployment whose database is behind a proxy, and the proxy."""
    # Only the writer's own connection commits while the test looks.
    monkeypatch.setattr("onhand.writer.setup_watch.POLL_S", 60)
    parts = urlsplit(postgres_url)
    proxy = Proxy((parts.hostname, parts.port or 5432))
    user = parts.netloc.rpartition("@")[0]
    through = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{proxy.port}"))
    shop = Deployment(tmp_path, through)
    shop.kit.add("apple", "north", on_hand=1_000)
    shop.publish()
    shop.open()
    wait_until(lambda: read_all_that_it_reads_at_start(shop.writer))
    yield shop, proxy
    shop.close()
    proxy.close()


def read_all_that_it_reads_at_start(writer):
    outbox, feed = writer._advisers
    return feed.decided_us and None not in {outbox._ledger.sent, outbox._events.sent}


def hold_and_note(shop, **fields):
    """Place a hold; when its event is noted as sent, nothing is committed that nobody asks for."""
    hold = shop.hold(**fields)
    outbox, _ = shop.writer._advisers
    wait_until(lambda: outbox._events.pending == 0 and outbox._marks() == outbox._marked)
    return hold


@pytest.mark.postgres
def test_a_lost_answer_of_the_database_is_found_out(proxied):
    """The commit was made: its command is answered as done, and its units are reserved once."""
    shop, proxy = proxied
    hold_and_note(shop)
    proxy.at_commit = "lose_answer"
    assert not shop.ask("place_hold", hold_of(), key=KEY).refused
    assert shop.reserved() == 2
    shop.restart()
    assert shop.reserved() == 2


@pytest.mark.postgres
def test_a_commit_that_never_arrived_is_undone(proxied):
    """Nothing is reserved by it, and the same key may be decided anew."""
    shop, proxy = proxied
    hold_and_note(shop)
    proxy.at_commit = "lose_request"
    assert code(shop.ask("place_hold", hold_of(), key=KEY)) == "ledger_unavailable"
    assert shop.reserved() == 1
    assert not shop.ask("place_hold", hold_of(), key=KEY).refused
    assert shop.reserved() == 2
    shop.restart()
    assert shop.reserved() == 2


@pytest.mark.postgres
def test_a_dead_database_is_said_at_once_and_got_over(proxied):
    """Commands are refused as `ledger_unavailable` and leave nothing behind; later ones go on."""
    shop, proxy = proxied
    first = hold_and_note(shop, key=KEY)
    proxy.refuse()
    for _ in range(3):
        assert code(shop.ask("place_hold", hold_of(quantity=5))) == "ledger_unavailable"
    assert shop.reserved() == 1
    proxy.listen_again()
    wait_until(lambda: not shop.ask("place_hold", hold_of(), key=b"l" * 16).refused)
    assert shop.hold(key=KEY) == first
    assert shop.reserved() == 2


def unreachable(_store):
    raise LedgerUnavailable("nobody answers", "Wait")


def test_nothing_is_decided_while_an_outcome_is_unknown(faulty, monkeypatch):
    """New commands are refused at once, the one in doubt is told so, and its key tells later."""
    monkeypatch.setattr("onhand.writer.turns.ANSWER_WAIT_S_MAX", 0.3)
    shop, store = faulty
    silent = threading.Event()

    def settle(_store):
        if not silent.is_set():
            unreachable(_store)
        return True

    store.commits.append(lose_answer)
    store.settlements += [settle] * 500
    doubted = shop.writer.submit(shop.asked("place_hold", hold_of()), key=KEY, body_sha=b"same")
    wait_until(lambda: "nobody answers" in str(shop.writer.missing()))
    begun_s = time.monotonic()
    assert code(shop.ask("place_hold", hold_of())) == "ledger_unavailable"
    assert time.monotonic() - begun_s < 10
    assert code(doubted.result(20)) == "ledger_unavailable"
    silent.set()
    wait_until(lambda: not shop.writer.missing())
    store.settlements.clear()
    assert not shop.ask("place_hold", hold_of(), key=KEY).refused
    assert shop.reserved() == 1


def test_an_unknown_commit_that_was_not_made_is_undone(faulty):
    """The book and what readers see go back to before it."""
    shop, store = faulty
    store.commits.append(lose_request)
    store.settlements += [unreachable, unreachable, lambda _store: False]
    assert code(shop.ask("place_hold", hold_of())) == "ledger_unavailable"
    wait_until(lambda: not shop.writer.missing())
    assert shop.reserved() == 0
    assert shop.hold()


def test_nothing_is_missing_once_commands_are_taken_and_not_before(faulty, monkeypatch):
    """Whoever hears that the writer is ready is decided: at a start, and after a doubt."""
    shop, store = faulty
    said = []

    def open_(intake):
        said.append(shop.writer.missing())
        real(intake)

    real = Intake.open
    monkeypatch.setattr(Intake, "open", open_)
    store.commits.append(lose_answer)
    store.settlements.append(lambda _store: True)
    assert not shop.ask("place_hold", hold_of()).refused
    wait_until(lambda: not shop.writer.missing())
    shop.restart()
    assert [len(each) for each in said] == [1, 1]


def test_a_failed_commit_fails_its_whole_batch_and_no_other(faulty):
    """Everything that shared it is undone and told; what comes after is decided."""
    shop, store = faulty
    store.commits.append(fail_commit)
    futures = [shop.writer.submit(shop.asked("place_hold", hold_of())) for _ in range(200)]
    answers = [future.result(20) for future in futures]
    assert {code(answer) for answer in answers if answer.refused} == {"ledger_unavailable"}
    assert shop.reserved() == sum(not answer.refused for answer in answers)
    shop.restart()
    assert shop.reserved() == sum(not answer.refused for answer in answers)


def test_what_is_due_by_itself_is_done_after_a_failed_commit(faulty):
    """Holds that expire while the database fails expire once it does not."""
    shop, store = faulty
    reserved = []

    def fail_expiries(real, commit):
        # What was sent is noted meanwhile, and that may succeed.
        if commit.holds and len(reserved) < 2:
            reserved.append(shop.reserved())
            fail_commit(real, commit)
        real.commit(commit)

    shop.hold(ttl_s=60, quantity=9)
    store.commits += [fail_expiries] * 20
    shop.clock.offset_us = 60_000_000
    wait_until(lambda: shop.reserved() == 0)
    assert reserved == [9, 9]


def test_how_far_claims_are_decided_is_noted_again_after_a_failed_commit(faulty):
    """Without another claim of its partition, too: answers to claims are not kept for ever."""
    shop, store = faulty
    failed = []

    def fail_notes(real, commit):
        if commit.claim_offsets and not failed:
            failed.append(commit.claim_offsets)
            fail_commit(real, commit)
        real.commit(commit)

    store.commits += [fail_notes] * 20
    sale = event(id="s-1", source="till", sku="apple", location="north", order_id="unknown")
    shop.log.append([NewRecord(CLAIMS, json.dumps(sale).encode())])
    wait_until(lambda: store.claim_offsets().get(0) == 1)
    assert failed == [{0: 1}]


def test_a_slow_database_only_makes_wait(faulty):
    """Commands share the next commit meanwhile, and none is lost."""
    shop, store = faulty
    begun, submitted = threading.Event(), threading.Event()

    def slow(inner, commit):
        begun.set()
        submitted.wait(20)
        return inner.commit(commit)

    store.commits.append(slow)
    futures = [shop.writer.submit(shop.asked("place_hold", hold_of()))]
    assert begun.wait(20)
    futures += [shop.writer.submit(shop.asked("place_hold", hold_of())) for _ in range(300)]
    submitted.set()
    assert not any(future.result(20).refused for future in futures)
    assert shop.reserved() == 301
    assert shop.batches() <= 4


def test_a_stop_while_an_outcome_is_unknown_answers_everybody(faulty):
    """The next writer knows what became of it."""
    shop, store = faulty
    store.commits.append(lose_answer)
    store.settlements += [unreachable] * 1_000
    doubted = shop.writer.submit(shop.asked("place_hold", hold_of()), key=KEY, body_sha=b"same")
    wait_until(shop.writer.missing)
    shop.writer.stop()
    assert code(doubted.result(0)) in {"ledger_unavailable", "writer_unavailable"}
    shop.open()
    assert shop.reserved() == 1
    assert not shop.ask("place_hold", hold_of(), key=KEY).refused
    assert shop.reserved() == 1


def test_the_older_of_two_writers_stops_and_nothing_is_lost(deploy, tmp_path, database):
    """On another machine the same ledger is taken over: the older one refuses for good."""
    older = deploy().open()
    kept = older.hold(quantity=4)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    newer = Deployment(tmp_path, database, table_dir=elsewhere, cluster_id=older.cluster_id)
    with contextlib.closing(newer):
        newer.kit.add("apple", "north", on_hand=1_000)
        newer.publish()
        newer.open()
        assert newer.reserved() == 4
        assert code(older.ask("place_hold", hold_of(quantity=9))) == "writer_fenced"
        assert code(older.ask("place_hold", hold_of(quantity=9))) == "writer_fenced"
        assert "taken over" in older.writer.missing()[0]
        assert older.counted("onhand_order_writer_fenced") == 1
        assert newer.counted("onhand_order_writer_fenced") == 0
        assert older.reserved() == 4
        assert not newer.ask("release_hold", target=kept["id"]).refused
        assert newer.reserved() == 0


def test_a_second_writer_of_the_same_tables_is_told_who_holds_them(shop):
    """It does not start, and the first one goes on."""
    second = OrderWriter(
        shop.settings,
        ledger=shop.ledger,
        setup_store=shop.setup_store,
        event_log=shop.log,
        cluster_id=shop.cluster_id,
        page=shop.page,
    )
    with pytest.raises(AlreadyRunning, match=f"Process {os.getpid()} already takes orders"):
        second.start()
    assert shop.hold()
    shop.writer.stop()
    second.start()
    wait_until(lambda: not second.missing())
    second.stop()


def test_a_broken_invariant_ends_the_writer(faulty):
    """What is in memory is trusted no longer; nobody is left waiting, and the ledger is whole."""
    shop, store = faulty
    shop.hold()

    def broken(_store, _commit):
        raise RuntimeError("no way")

    store.commits.append(broken)
    assert code(shop.ask("place_hold", hold_of())) == "writer_unavailable"
    wait_until(lambda: shop.broken)
    shop.broken.clear()
    shop.restart()
    assert shop.reserved() == 1
