"""``onhand replay`` and ``onhand demo``, as a person runs them."""

import contextlib
import json
import re
import subprocess
import sys

import pytest

from onhand import cli
from onhand.ledger import SetupStore, open_ledger
from onhand.log import open_log
from onhand.settings import Settings
from tests.deployments import environment
from tests.ports import free_port

NOW_US = "1790000000000000"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("ONHAND_DATA", str(tmp_path / "data"))
    return Settings(data=tmp_path / "data")


@pytest.fixture
def onhand(settings, capsys):  # noqa: ARG001 - the environment that it sets
    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def events(settings):
    with contextlib.closing(open_log(settings)) as log:
        return [
            record.value
            for topic in ("stock.receipts", "stock.sales")
            for record in log.read((topic, 0), 0, 1_000_000)
        ]


def test_a_replay_is_in_the_log_with_its_stores_set_up(onhand, settings):
    """Every event announced is in the log, and its locations and SKUs are in the ledger."""
    code, out, _ = onhand("replay", "completejourney", "--limit", "500", "--now", NOW_US)
    assert code == 0
    published = int(re.search(r"Published ([\d,]+) events", out)[1].replace(",", ""))
    found = events(settings)
    assert len(found) == published
    locations = {json.loads(value)["location"] for value in found}
    with contextlib.closing(open_ledger(settings)) as ledger:
        setup = SetupStore(ledger).load_setup()
    assert set(setup.locations) == locations
    assert setup.skus


def test_a_replay_can_be_repeated(onhand, settings):
    """The same now gives the same bytes, so that a second run adds only duplicates."""
    for _ in range(2):
        onhand("replay", "completejourney", "--limit", "200", "--now", NOW_US)
    found = events(settings)
    assert len(set(found)) * 2 == len(found)


def test_bad_weather_is_mixed_in_and_told(onhand, settings):
    """Duplicates, late and bad events are counted in what is printed."""
    weather = ("--duplicates", "0.5", "--disorder", "0.5", "--rubbish", "0.5")
    out = onhand("replay", "completejourney", "--limit", "500", *weather, "--no-locations")[1]
    told = re.search(r"Mixed in: (\d+) duplicates, (\d+) late, (\d+) bad", out)
    assert told
    assert all(int(count) > 0 for count in told.groups())
    published = int(re.search(r"Published (\d+) events", out)[1])
    assert len(events(settings)) == published


def test_a_fraction_above_one_is_bad_usage(onhand):
    """What cannot be is refused before anything is opened."""
    assert onhand("replay", "completejourney", "--rubbish", "2")[0] == 2
    assert onhand("replay", "elsewhere")[0] == 2


def run_demo(tmp_path, *arguments, timeout):
    return subprocess.run(
        [
            *(sys.executable, "-m", "onhand.cli", "demo", "--once", "--check"),
            *("--port", str(free_port()), *arguments),
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.timeout(180)
def test_a_small_demo_ends_as_pandas_says(tmp_path):
    """The demo starts, replays, compares every cell, and leaves nothing running."""
    done = run_demo(tmp_path, "--limit", "20000", timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Compared [\d,]+ cells with pandas: 0 differ\.", done.stdout)
    assert "available of" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_demo_ends_as_pandas_says(tmp_path):
    """The year, all 1.47 million lines of it."""
    done = run_demo(tmp_path, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Compared 766,036 cells with pandas: 0 differ\.", done.stdout)
