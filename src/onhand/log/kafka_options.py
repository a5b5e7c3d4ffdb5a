"""What onhand tells librdkafka, and how its errors are told to people."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException

from onhand.errors import LogFull, LogUnavailable, OnhandError, RecordTooLarge, SettingsError

GROUP: Final = "onhand-ingest"
"""The consumer group that offsets are committed to, for tools that show lag."""

GATHERED_BYTES: Final = 1 << 20
"""What a reader in no hurry is handed at once, however short it has gathered."""

COORDINATOR_WAIT_MS: Final = 3_000
"""How long an offset waits to be committed: no tool needs it, and the end of a process has 20 s."""

RESERVED: Final = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "message.timeout.ms",
        "partitioner",
    }
)
"""What correctness rests on, or what a setting of onhand's own says."""

REPEAT_S: Final = 30.0
"""After this long a line of librdkafka's is told again."""

_LINES_MAX: Final = 1_000


class _Repeats(logging.Filter):
    """Holds back lines told a moment ago: a client without brokers says the same 40 times a second.

    It begins with its bootstrap servers again whenever all brokers are down, and with that its
    pauses and its own leaving out of repeated lines begin again as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self._again_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        line, now_s = record.getMessage(), time.monotonic()
        if now_s < self._again_s.get(line, 0.0):
            return False
        if len(self._again_s) >= _LINES_MAX:
            self._again_s.clear()
        self._again_s[line] = now_s + REPEAT_S
        return True


_log = logging.getLogger("onhand.kafka")
_log.addFilter(_Repeats())
_LEVELS: Final = (
    *[logging.CRITICAL] * 3,
    logging.ERROR,
    logging.WARNING,
    *[logging.INFO] * 2,
    logging.DEBUG,
)
"""The levels of syslog, which librdkafka uses."""

_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's own codes are named so
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_MISSING: Final = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
_PASSING: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._TRANSPORT,  # noqa: SLF001
    }
)


class KafkaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Kafka and what to ask of it.

    ``options`` are handed to librdkafka as they are and may hold secrets: show ``brokers`` alone.
    """

    brokers: str
    options: dict[str, str | int | float | bool] = {}
    topic_prefix: str = ""
    append_timeout_s: float = 10.0
    request_timeout_s: float = 10.0
    linger_ms: float = 2.0
    fetch_wait_ms: int = 5
    gather_ms: int = 0
    prefetch_bytes_max: int = 64 << 20
    waiting_bytes_max: int = 64 << 20
    retention_hours: int = 168

    def __post_init__(self) -> None:
        """Refuse options that would break what onhand promises."""
        taken = sorted(RESERVED & self.options.keys())
        if taken:
            raise SettingsError(
                f"kafka_options sets {', '.join(taken)}, which onhand sets itself",
                "Leave them out of kafka_options",
            )

    def __repr__(self) -> str:
        """Show no options: they may hold secrets."""
        return f"KafkaOptions(brokers={self.brokers!r}, topic_prefix={self.topic_prefix!r})"

    def admin(self) -> dict[str, Any]:
        """Return the options of an admin client."""
        return {
            "bootstrap.servers": self.brokers,
            "client.id": "onhand",
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 1_000,
            "logger": _log,
            **self.options,
        }

    def producer(self) -> dict[str, Any]:
        """Return the options of a producer whose acknowledgement means durable."""
        return {
            "linger.ms": self.linger_ms,
            "compression.type": "lz4",
            # Brokers know how much a topic takes; librdkafka's own limit would only hide it.
            "message.max.bytes": 64 << 20,
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 2 << 20,
            **self.admin(),
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(self.append_timeout_s * 1000),
            # As Java clients choose, so that a key meets its elders.
            "partitioner": "murmur2_random",
        }

    def consumer(self) -> dict[str, Any]:
        """Return the options of a consumer that reads on from given offsets and never skips."""
        return {
            "fetch.min.bytes": GATHERED_BYTES if self.gather_ms else 1,
            "fetch.wait.max.ms": max(self.fetch_wait_ms, self.gather_ms),
            "fetch.error.backoff.ms": 100,
            # A full prefetch must not leave a partition alone for the default of a second.
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": self.prefetch_bytes_max >> 10,
            # No group membership is at stake: partitions are assigned by hand.
            "max.poll.interval.ms": 86_400_000,
            # How long closing waits for a commit that no coordinator takes; 45 s left alone.
            "session.timeout.ms": COORDINATOR_WAIT_MS,
            **self.admin(),
            "group.id": self.topic_prefix + GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }

    def native_consumer(self) -> dict[str, str]:
        """Return the options of a consumer as librdkafka itself takes them: text."""
        told = {name: value for name, value in self.consumer().items() if value is not _log}
        return {name: _as_text(value) for name, value in told.items()}

    def unavailable(self, what: str) -> LogUnavailable:
        """Return the error for a Kafka that does not answer."""
        return LogUnavailable(
            f"Kafka at {self.brokers} {what}",
            "Check that the brokers run, that --kafka names them, and kafka_options for security",
        )


def log_line(level: int, facility: str, text: str) -> None:
    """Hand a line of librdkafka's log on."""
    _log.log(_LEVELS[level], "%s %s", facility, text)


def translate(error: KafkaError, options: KafkaOptions, topic: str = "") -> OnhandError:
    """Turn Kafka's error into one that says what to do."""
    code = error.code()
    if code == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLarge(
            f"A record is larger than {topic or 'its topic'} takes",
            f"Raise max.message.bytes of {topic or 'the topic'}, or split the event",
        )
    if code == KafkaError.KAFKA_STORAGE_ERROR:
        return LogFull(
            f"A Kafka broker cannot write to its disk ({error.str()})",
            "Free space on the brokers' disks and look at their logs",
        )
    if code in _MISSING:
        return LogUnavailable(
            f"Kafka at {options.brokers} has no topic {topic!r}",
            "Start `onhand up` once, which creates the topics that are missing",
        )
    if code in _DENIED:
        return LogUnavailable(
            f"Kafka at {options.brokers} refuses access ({error.str()})",
            "Check the credentials in kafka_options and the topic's access rules",
        )
    return options.unavailable(f"did not do what was asked ({error.str()})")


def from_exception(error: KafkaException, options: KafkaOptions, topic: str = "") -> OnhandError:
    """Turn an exception of the client into one that says what to do."""
    cause = error.args[0] if error.args else None
    if not isinstance(cause, KafkaError):
        return options.unavailable(f"cannot be used ({error})")
    if cause.code() == KafkaError._INVALID_ARG:  # noqa: SLF001
        return SettingsError(
            f"librdkafka refuses an option ({cause.str()})", "Correct kafka_options"
        )
    return translate(cause, options, topic)


def is_passing(error: KafkaException) -> bool:
    """Tell whether asking again may help: leaders move, and connections are made anew."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, KafkaError) and cause.code() in _PASSING


def _as_text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
