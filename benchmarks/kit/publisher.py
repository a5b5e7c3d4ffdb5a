"""A process that appends at a steady rate, each record carrying when it was handed over.

Arguments: where the log is (a file, or brokers with a topic prefix), the rate per second, and how
many records. Values are the wall clock in nanoseconds, padded to the size of an ordinary event.
"""

import sys
import time
from pathlib import Path

from onhand.log.base import NewRecord
from onhand.log.embedded import EmbeddedLog
from onhand.log.kafka import KafkaLog
from onhand.log.kafka_options import KafkaOptions

VALUE_BYTES = 170
TICK_S = 0.001


def open_log(place, prefix):
    if prefix:
        return KafkaLog(KafkaOptions(brokers=place, topic_prefix=prefix))
    return EmbeddedLog(Path(place))


def main(place, prefix, rate, count):
    log = open_log(place, prefix)
    # The first append to Kafka takes half a second, for the producer's id.
    log.append([NewRecord("stock.sales", b"0".ljust(VALUE_BYTES))])
    started = time.perf_counter()
    sent = 0
    futures = []
    while sent < count:
        due = min(count, int((time.perf_counter() - started) * rate))
        while sent < due:
            value = b"%d" % time.time_ns()
            futures.append(
                log.append_nowait(
                    [NewRecord("stock.sales", value.ljust(VALUE_BYTES), b"%d" % (sent % 97))]
                )
            )
            sent += 1
        time.sleep(TICK_S)
    for future in futures:
        future.result()
    log.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
