"""The recommendations process: run the flow until told to stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from bytewax._bytewax import cluster_main

from onhand.dataflows.recommendations import get_flow
from onhand.recommendations.engine import open_engine, watch_partitions
from onhand.structs import make_structs_ready

if TYPE_CHECKING:
    from onhand.recommendations.engine import Engine
    from onhand.settings import Settings

PARTITIONS_POLL_S: Final = 10.0


def learn_recommendations(settings: Settings, stopping: threading.Event) -> None:
    """Learn what is bought together, and publish it, until told to stop.

    Raises
    ------
    OnhandError
        It cannot start, or the log has dropped what was to be read next; a new start goes on.
    """
    make_structs_ready()
    with open_engine(settings) as engine:
        for target in (_stop_with, _watch):
            threading.Thread(target=target, args=(engine, stopping), daemon=True).start()
        run_flow(engine)


def run_flow(engine: Engine) -> None:
    """Run the flow in this thread until the engine is stopped."""
    cluster_main(get_flow(engine), [], 0, worker_count_per_proc=1)  # type: ignore[no-untyped-call]


def _stop_with(engine: Engine, stopping: threading.Event) -> None:
    stopping.wait()
    engine.stop()


def _watch(engine: Engine, _stopping: threading.Event) -> None:
    watch_partitions(engine, PARTITIONS_POLL_S)
