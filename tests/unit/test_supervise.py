"""Supervision, with real processes: each test runs a supervisor of its own in a child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onhand.configuration import load_settings
from onhand.settings import Settings
from onhand.supervise import environment_of
from tests.deployments import WAIT_S, is_alive, wait_until
from tests.signals import HASTY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARENT = """
import os, sys
from pathlib import Path
from onhand.errors import OnhandError
from onhand.logging import configure_logging
from onhand.supervise import Child, Supervisor

configure_logging("json")
scratch = Path(sys.argv[1])
children = [
    Child(
        name=f"child-{n}",
        argv=(sys.executable, "-c", script, str(scratch), str(n)),
        environment=os.environ,
        is_started=(scratch / f"ready-{n}").exists,
    )
    for n, script in enumerate(sys.argv[3:])
]
try:
    Supervisor(children, (scratch / "announced").touch, stop_s_max=float(sys.argv[2])).run()
except OnhandError as error:
    sys.exit(f"onhand: {error}")
"""

STEADY = """
import os, sys, time
from pathlib import Path
from onhand.supervise import end_with_parent
end_with_parent()
scratch, n = Path(sys.argv[1]), sys.argv[2]
with (scratch / f"pids-{n}").open("a") as pids:
    pids.write(f"{os.getpid()}\\n")
(scratch / f"ready-{n}").touch()
time.sleep(300)
"""

FAILING = "import sys; print('port 8000 is in use', file=sys.stderr); sys.exit(1)"

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + STEADY

BLOCKING_PARENT = """
import os, signal, sys, threading, time
from onhand.supervise import spawn
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
def run():
    spawn((sys.executable, "-c", sys.argv[1], sys.argv[2], "0"), os.environ).wait()
threading.Thread(target=run, daemon=True).start()
time.sleep(300)
"""


def ending(code: int) -> str:
    """Write a child that ends with an exit code, once it is known to have started."""
    announced = 'while not (scratch / "announced").exists(): time.sleep(0.01)'
    return STEADY.replace("time.sleep(300)", f"{announced}\nsys.exit({code})")


def pids(scratch: Path, child: int = 0) -> list[int]:
    """List the process ids that a child has had."""
    path = scratch / f"pids-{child}"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


class Tree:
    """A supervisor in a process of its own."""

    def __init__(self, scratch: Path, *scripts: str, stop_s_max: float = 10.0) -> None:
        self.scratch = scratch
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(scratch), str(stop_s_max), *scripts],
            stderr=subprocess.PIPE,
        )

    def wait_announced(self) -> None:
        """Wait until every child has started."""
        wait_until((self.scratch / "announced").exists)

    def end(self) -> str:
        """Wait for the supervisor's end and answer what it and its children said."""
        _, said = self.process.communicate(timeout=WAIT_S + 10)
        return said.decode()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    """Start supervisors that end with the test."""
    trees: list[Tree] = []

    def start(*scripts: str, **options: float) -> Tree:
        trees.append(Tree(tmp_path, *scripts, **options))
        return trees[-1]

    yield start
    for each in trees:
        if each.process.poll() is None:
            each.process.terminate()
            each.process.communicate(timeout=WAIT_S + 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_all_children(
    tree: Callable[..., Tree], tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM and SIGINT end every child, and the supervisor succeeds."""
    running = tree(STEADY, STEADY)
    running.wait_announced()
    running.process.send_signal(number)
    running.end()
    assert running.process.returncode == 0
    assert not any(is_alive(pid) for child in (0, 1) for pid in pids(tmp_path, child))


def test_a_stop_signal_is_heard_however_early_it_comes(tmp_path: Path) -> None:
    """One that comes as soon as it does not kill any more is not lost."""
    hasty = [sys.executable, "-c", HASTY + PARENT, str(tmp_path), "10", STEADY]
    assert subprocess.run(hasty, timeout=WAIT_S + 10, check=False).returncode == 0
    assert not any(is_alive(pid) for pid in pids(tmp_path))


def test_a_killed_child_is_started_again(tree: Callable[..., Tree], tmp_path: Path) -> None:
    """A child killed outright is replaced, and its neighbour is left alone."""
    running = tree(STEADY, STEADY)
    running.wait_announced()
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    wait_until(lambda: len(pids(tmp_path)) == 2)
    assert len(pids(tmp_path, 1)) == 1
    running.process.terminate()
    assert "was killed by SIGKILL" in running.end()


def test_a_child_that_cannot_start_ends_everything(
    tree: Callable[..., Tree], tmp_path: Path
) -> None:
    """A child that fails before it has started is not retried; its own message stands."""
    running = tree(STEADY, FAILING)
    said = running.end()
    assert running.process.returncode == 1
    assert "port 8000 is in use" in said
    assert "child-1 cannot run" in said
    assert not any(is_alive(pid) for pid in pids(tmp_path))


def test_a_child_that_once_started_is_started_again_however_it_ends(
    tree: Callable[..., Tree], tmp_path: Path
) -> None:
    """A failure after the start may be mended meanwhile, so it is tried again."""
    running = tree(ending(1), STEADY)
    wait_until(lambda: len(pids(tmp_path)) >= 3)
    assert len(pids(tmp_path, 1)) == 1
    running.process.terminate()
    assert "ended with exit code 1" in running.end()
    assert running.process.returncode == 0


def test_bad_usage_after_a_start_is_permanent(tree: Callable[..., Tree]) -> None:
    """A child that ends with exit code 2 is not started again, even if it ran before."""
    running = tree(ending(2))
    assert "ended with exit code 2" in running.end()
    assert running.process.returncode == 1


def test_a_killed_supervisor_takes_its_children_along(
    tree: Callable[..., Tree], tmp_path: Path
) -> None:
    """Children end when their supervisor is killed outright."""
    running = tree(STEADY, STEADY)
    running.wait_announced()
    children = pids(tmp_path, 0) + pids(tmp_path, 1)
    assert all(is_alive(pid) for pid in children)
    running.process.kill()
    running.end()
    wait_until(lambda: not any(is_alive(pid) for pid in children))


def test_any_thread_may_spawn_and_its_signal_mask_stays_its_own(tmp_path: Path) -> None:
    """A child of a process that blocks SIGTERM hears SIGTERM, and ends with its parent."""
    parent = subprocess.Popen([sys.executable, "-c", BLOCKING_PARENT, STEADY, str(tmp_path)])
    wait_until((tmp_path / "ready-0").exists)
    child = pids(tmp_path)[0]
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_alive(child))


def test_children_stay_in_the_group_of_the_supervisor(
    tree: Callable[..., Tree], tmp_path: Path
) -> None:
    """A signal to the process group reaches every child."""
    running = tree(STEADY)
    running.wait_announced()
    assert os.getpgid(pids(tmp_path)[0]) == os.getpgid(running.process.pid)


def test_a_deaf_child_is_killed(tree: Callable[..., Tree], tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed when its time is up."""
    running = tree(DEAF, stop_s_max=0.2)
    running.wait_announced()
    running.process.terminate()
    assert "child_killed" in running.end()
    assert not is_alive(pids(tmp_path)[0])


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(late_window=None, port=8123, no_auth=True, data=Path("elsewhere")),
        Settings(
            kafka="localhost:9092",
            kafka_options={"sasl.password": "secret", "linger.ms": 5},
            late_window=timedelta(hours=80, milliseconds=5),
            database="postgresql://u:p@localhost/onhand",
        ),
    ],
)
def test_a_child_reads_the_settings_of_its_parent(settings: Settings) -> None:
    """The environment written for a child gives exactly the parent's settings."""
    assert load_settings(environ=environment_of(settings)) == settings


def test_a_setting_of_the_parents_environment_does_not_leak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a flag has overruled in the parent is overruled in the child too."""
    monkeypatch.setenv("ONHAND_PORT", "9999")
    monkeypatch.setenv("ONHAND_CONFIG", "/nowhere/onhand.toml")
    settings = Settings(port=8001)
    assert load_settings(environ=environment_of(settings)) == settings
