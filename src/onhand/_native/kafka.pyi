"""A native consumer of Kafka; its Python face is ``onhand.log.kafka_read``."""

from collections.abc import Collection
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

def find_library(path: str) -> int:
    """Find librdkafka behind confluent-kafka's extension, once before the first consumer.

    Returns
    -------
    int
        Its version, as ``rd_kafka_version()`` has it: 0xMMmmrrff.

    Raises
    ------
    LogUnavailable
        Something that is needed is not there; the message names it.
    """

@final
class Columns:
    """The records of one poll, one element a record; partitions are mixed, as they came."""

    def __new__(cls) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def values(self) -> list[bytes]:
        """``b""`` for a tombstone."""

    @property
    def offsets(self) -> NDArray[np.int64]: ...
    @property
    def append_us(self) -> NDArray[np.int64]:
        """The timestamp in microseconds, 0 for a record without."""

    @property
    def partitions(self) -> NDArray[np.uint16]: ...
    @property
    def headers(self) -> list[tuple[tuple[str, bytes], ...] | None] | None:
        """None when no record has any."""

    @property
    def lasts(self) -> dict[int, tuple[int, int]]:
        """Offset and append time of the last record of each partition, by its index."""

    @property
    def errors(self) -> list[tuple[str | None, int, int, int, str]]:
        """What was reported between records: topic, partition, offset, code and text.

        The topic is None when it is about no partition.
        """

    def key(self, index: int) -> bytes | None:
        """Return a record's key; O(records), since hardly any is asked for."""

@final
class NativeConsumer:
    """A consumer of partitions that are assigned by hand; one thread uses it.

    It uses the very librdkafka that confluent-kafka uses, by its public functions.

    Parameters
    ----------
    options
        Of librdkafka, by name.
    indexes
        Partition index by (topic, partition).

    Raises
    ------
    KafkaException
        An option is unknown or refused.
    """

    def __new__(cls, options: dict[str, str], indexes: dict[tuple[str, int], int]) -> Self: ...
    def assign(self, places: Collection[tuple[str, int, int]]) -> None:
        """Read these partitions, each from its offset on, in the place of any others."""

    def take(self, count_max: int, bytes_max: int, wait_ms: int) -> Columns:
        """Take what has been fetched, waiting only for the first of it.

        Parameters
        ----------
        bytes_max
            No more is taken once values come to so many.

        Raises
        ------
        KeyError
            A record of a partition that ``indexes`` does not know.
        """

    def pause(self, topic: str, partition: int) -> None:
        """Fetch no more of a partition for the time being."""

    def resume(self, topic: str, partition: int) -> None:
        """Fetch on."""

    def commit(self, places: Collection[tuple[str, int, int]]) -> None:
        """Commit offsets to the group in the background; failures are logged."""

    def fetched_end(self, topic: str, partition: int) -> int:
        """Return the end that the partition's last fetch brought, -1 before the first."""

    def logged(self) -> list[tuple[int, str, str]]:
        """Take what the client has logged: level as in syslog, facility and text."""

    def close(self) -> None:
        """Let go of the client and its connections. Calling it again does nothing."""
