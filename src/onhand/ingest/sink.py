"""The flow's sink: one part per shard, each part applies what is routed to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

if TYPE_CHECKING:
    from onhand.ingest.engine import Engine
    from onhand.ingest.shard import Shard
    from onhand.model.batch import Batch


class ShardPart(StatefulSinkPartition["tuple[int, Batch]", None]):
    """One shard as a Bytewax partition; its state is in the shard's own checkpoints."""

    def __init__(self, engine: Engine, shard: Shard) -> None:
        self._engine = engine
        self._shard = shard

    def write_batch(self, values: list[tuple[int, Batch]]) -> None:
        """Apply each batch, in the order the lanes read them."""
        for lane, batch in values:
            self._shard.write(lane, batch)
            self._engine.batch_left()

    def snapshot(self) -> None:
        """Nothing: see the shard's checkpoints."""

    def close(self) -> None:
        """Write the last checkpoint; called when the lanes have ended."""
        self._shard.finish()


class SupplySink(FixedPartitionedSink["tuple[int, Batch]", None]):
    """Every shard of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list_parts(self) -> list[str]:
        """Name the shards; three digits keep them in order."""
        return [shard_key(number) for number in range(len(self._engine.shards))]

    def part_fn(self, item_key: str) -> int:
        """Route a key to the shard it names."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> ShardPart:  # noqa: ARG002
        """Hand out the shard that the engine has loaded."""
        return ShardPart(self._engine, self._engine.shards[int(for_part)])


def shard_key(number: int) -> str:
    """Return the Bytewax key of a shard."""
    return f"{number:03d}"
