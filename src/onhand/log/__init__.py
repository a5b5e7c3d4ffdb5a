"""The event log: one small interface, embedded in the data directory or Kafka behind it."""

from onhand.log.open import open_log

__all__ = ["open_log"]
