"""Stock events in, availability out.

    log --> read --> judge --> apply
              |        |         '-- supply table, checkpoints
              |        '-- dead letters and claims, durable before the batch goes on
              '-- one item is one whole poll of the log

Three steps, no Bytewax recovery directory: numbers and offsets are one thing and live in the
table's checkpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from onhand.ingest.sink import SupplySink
from onhand.ingest.source import LogSource

if TYPE_CHECKING:
    from onhand.ingest.engine import Engine

FLOW_ID = "availability"


def get_flow(engine: Engine) -> Dataflow:
    """Wire the flow around an open engine.

    Parameters
    ----------
    engine
        Holds the log, the shards and the rules; see :mod:`onhand.ingest.engine`.
    """
    flow = Dataflow(FLOW_ID)
    polls = op.input("read", flow, LogSource(engine))
    routed = op.flat_map("judge", polls, engine.judge)
    op.output("apply", routed, SupplySink(engine))
    return flow
