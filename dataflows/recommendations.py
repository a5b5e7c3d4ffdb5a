"""Sales in, what is bought together out.

    log --> read --> gather --> learn
              |        |          '-- pairs: a checkpoint in DATA, a snapshot in shared memory
              |        '-- the sales of a poll, as ingest would accept them
              '-- one item is one whole poll of the log

Three steps, no Bytewax recovery directory: counts and offsets are one thing and live in the
checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from onhand.recommendations.steps import PART, LearnSink, SalesSource

if TYPE_CHECKING:
    from onhand.recommendations.engine import Engine

FLOW_ID = "recommendations"


def get_flow(engine: Engine) -> Dataflow:
    """Wire the flow around an open engine.

    Parameters
    ----------
    engine
        Holds the log, what is learnt, and the rules; see :mod:`onhand.recommendations.engine`.
    """
    flow = Dataflow(FLOW_ID)
    polls = op.input("read", flow, SalesSource(engine))
    gathered = op.map("gather", polls, lambda poll: (PART, engine.gather(poll)))
    op.output("learn", gathered, LearnSink(engine))
    return flow
