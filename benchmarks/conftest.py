"""What benchmarks share with tests: the logs and the brokers they run on."""

from tests.brokers import broker, kafka_log
from tests.logs import embedded_log, event_log

__all__ = ["broker", "embedded_log", "event_log", "kafka_log"]
