"""What is fuzzed: a name, a check that takes any bytes, and inputs to begin with."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.fuzz import decoding, files


class Target(NamedTuple):
    """A check that holds for any bytes, or raises."""

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    dictionary: Sequence[bytes] = ()


TARGETS: Final = {
    "poll": Target(decoding.check_poll, decoding.SEEDS, decoding.DICTIONARY),
    "envelopes": Target(decoding.check_envelopes, decoding.SEEDS, decoding.DICTIONARY),
    "body": Target(decoding.check_body, decoding.BODIES, decoding.DICTIONARY),
    "checkpoint": Target(files.check_checkpoint, files.SEEDS),
    "learnt": Target(files.check_learnt, files.SEEDS),
    "snapshot": Target(files.check_snapshot, files.SEEDS),
}
