"""The ends of the recommendations flow: a source of whole polls, and a sink that learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

if TYPE_CHECKING:
    from onhand.recommendations.engine import Engine, Gathered, Poll

PART: Final = "pairs"
"""The one part of either end: what is learnt is one memory, in one process."""


class SalesPart(StatefulSourcePartition["Poll", None]):
    """The log as a Bytewax partition; the checkpoint holds its offsets, so Bytewax stores none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def next_batch(self) -> list[Poll]:
        """Hand over one poll, also one without records: time passes, and is learnt of too.

        Raises
        ------
        StopIteration
            Once the engine is told to stop.
        """
        if self._engine.stopping.is_set():
            raise StopIteration
        return [self._engine.read()]

    def snapshot(self) -> None:
        """Nothing: see the engine's checkpoint."""


class SalesSource(FixedPartitionedSource["Poll", None]):
    """The one reader of the flow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list_parts(self) -> list[str]:
        """Name the one part."""
        return [PART]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SalesPart:  # noqa: ARG002
        """Read on where the checkpoint stands."""
        return SalesPart(self._engine)


class LearnPart(StatefulSinkPartition["Gathered", None]):
    """What is learnt as a Bytewax partition."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write_batch(self, values: list[Gathered]) -> None:
        """Learn from each, in the order of the log."""
        for gathered in values:
            self._engine.learn(gathered)

    def snapshot(self) -> None:
        """Nothing: see the engine's checkpoint."""

    def close(self) -> None:
        """Write down what has been learnt."""
        self._engine.finish()


class LearnSink(FixedPartitionedSink["Gathered", None]):
    """The one learner of the flow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list_parts(self) -> list[str]:
        """Name the one part."""
        return [PART]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> LearnPart:  # noqa: ARG002
        """Hand out the engine."""
        return LearnPart(self._engine)
