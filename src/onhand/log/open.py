"""Open the event log that the settings name."""

from __future__ import annotations

from collections.abc import Callable

from onhand.log.base import EventLog, now_us
from onhand.log.embedded import EmbeddedLog
from onhand.settings import Settings

LOG_FILE = "log.sqlite3"


def open_log(settings: Settings, *, now_us: Callable[[], int] = now_us) -> EventLog:
    """Open Kafka when brokers are named, else the log in the data directory.

    Raises
    ------
    OnhandError
        The file cannot be opened, or an option for Kafka is wrong. Brokers that do not answer are
        found out by the first call.
    """
    if settings.kafka is None:
        return EmbeddedLog(settings.data / LOG_FILE, now_us=now_us)
    # The client library is large, and a process with the embedded log never needs it.
    from onhand.log.kafka import KafkaLog  # noqa: PLC0415
    from onhand.log.kafka_options import KafkaOptions  # noqa: PLC0415

    options = KafkaOptions(
        brokers=settings.kafka,
        options=settings.kafka_options,
        topic_prefix=settings.topic_prefix,
        retention_hours=settings.log_retention_hours,
    )
    return KafkaLog(options, now_us=now_us)
