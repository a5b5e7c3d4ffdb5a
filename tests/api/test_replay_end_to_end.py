"""Real sales through the whole product, in bad weather and with the writer killed along the way.

What comes out is compared with a few lines of pandas over the same lines; see
``onhand.replay.expected``.
"""

import contextlib
import os
import re
import shutil
import signal
import threading
import time

import pytest

from onhand import cli
from onhand.cli.demo import on_hand_of_every_cell
from onhand.identity import read_identity
from onhand.ingest.dead_letters import list_dead_letters
from onhand.log import open_log
from onhand.log.topics import EVENT_TOPICS
from onhand.replay import Disturbance, load_year
from onhand.sending import HttpSink, LogSink, send_all
from onhand.settings import Settings
from onhand.table.reader import TableReader
from tests.deployments import Deployment, wait_until

WEATHER = Disturbance(duplicates=0.1, disorder=0.2, rubbish=0.02)
WHOLE_YEAR = None
YEAR_US = 366 * 86_400 * 1_000_000


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def deployment(request, tmp_path):
    flags = ["--late-window", "off", "--checkpoint-interval-s", "1"]
    if request.param == "kafka":
        options = request.getfixturevalue("broker").options()
        flags += ["--kafka", options.brokers, "--topic-prefix", options.topic_prefix]
    running = Deployment(tmp_path, *flags).start().wait_started()
    yield running
    running.close()
    shutil.rmtree(running.table_path(), ignore_errors=True)


def settings_of(deployment):
    flags = dict(zip(deployment.flags[::2], deployment.flags[1::2], strict=True))
    return Settings(
        data=deployment.data,
        kafka=flags.get("--kafka"),
        topic_prefix=flags.get("--topic-prefix", ""),
        late_window=None,
    )


@contextlib.contextmanager
def killing_ingest(deployment, interval_s):
    """Kill the writer again and again while the block runs; yield how often."""
    done = threading.Event()
    kills = []

    def kill():
        last = 0
        while not done.wait(interval_s):
            pid = deployment.ingest_pid()
            if pid != last:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills.append(pid)
                last = pid

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield kills
    finally:
        done.set()
        thread.join()


def wait_applied(settings, log, wait_s):
    reader = TableReader(settings.table_dir, read_identity(settings.data).id)
    ends = log.end_offsets(log.partitions(EVENT_TOPICS))

    def applied():
        reader.refresh()
        offsets = reader.progress().offsets
        return all(offsets.get(partition, 0) >= end for partition, end in ends.items())

    wait_until(applied, wait_s)
    return reader


def differences(year, reader):
    cells = year.expected_cells()
    expected = dict(
        zip(zip(cells["sku"], cells["location"], strict=True), cells["on_hand"], strict=True)
    )
    found = on_hand_of_every_cell(reader)
    every = expected.keys() | found.keys()
    return {
        cell: (expected.get(cell, 0), found.get(cell, 0))
        for cell in every
        if expected.get(cell, 0) != found.get(cell, 0)
    }


@pytest.mark.parametrize(
    ("limit", "kill_interval_s"),
    [
        pytest.param(30_000, 1.5, id="month", marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
        pytest.param(
            WHOLE_YEAR, 4.0, id="year", marks=[pytest.mark.slow, pytest.mark.timeout(900)]
        ),
    ],
)
def test_bad_weather_and_kills_change_nothing(deployment, limit, kill_interval_s):
    """Duplicates, disorder, rubbish and kill -9 of the writer leave every cell as pandas says."""
    settings = settings_of(deployment)
    year = load_year(time.time_ns() // 1_000, limit=limit, disturbance=WEATHER)
    rate = year.event_count / 6 if limit else None
    with contextlib.closing(open_log(settings)) as log:
        with killing_ingest(deployment, kill_interval_s) as kills:
            send_all(year.records(), LogSink(log), rate=rate)
            wait_until(lambda: len(kills) >= 2)
        reader = wait_applied(settings, log, 600)
        assert differences(year, reader) == {}
        refused = {
            (letter.topic, letter.origin_partition, letter.origin_offset)
            for letter in list_dead_letters(log)
        }
    assert len(refused) == year.tally.rubbish_count
    assert deployment.process.poll() is None


@pytest.mark.timeout(240)
def test_sales_over_http_end_as_pandas_says(deployment):
    """The same year's beginning, posted to the server: rubbish is refused there, by name."""
    settings = settings_of(deployment)
    year = load_year(time.time_ns() // 1_000, limit=10_000, disturbance=WEATHER)
    sent = send_all(year.records(), HttpSink(deployment.url))
    assert sent.rejected_count == year.tally.rubbish_count
    assert sent.accepted == year.event_count + year.tally.duplicate_count
    with contextlib.closing(open_log(settings)) as log:
        reader = wait_applied(settings, log, 120)
        assert differences(year, reader) == {}


def test_only_refusals_that_were_not_meant_fail_the_command(deployment, capsys):
    """Rubbish that was asked for is refused as it should be; a year to come should not be sent."""

    def replay(*options):
        http = ("--to", "http", "--url", deployment.url, "--no-locations", "--limit", "500")
        code = cli.run(["replay", "completejourney", *http, *options])
        return code, capsys.readouterr().out

    code, out = replay("--rubbish", "0.5")
    mixed_in = re.search(r"([\d,]+) bad\.", out)[1]
    assert f"Refused by the server: {mixed_in} (" in out
    assert code == 0
    code, out = replay("--now", str(time.time_ns() // 1_000 + 5 * YEAR_US))
    assert re.search(r"Refused by the server: [1-9][\d,]* \(clock_ahead\)\.", out)
    assert code == 1
