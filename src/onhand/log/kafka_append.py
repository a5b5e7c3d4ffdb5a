"""Appending to Kafka: one producer, one future per call, done when every replica in sync has it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from onhand.errors import OnhandError
from onhand.log.base import NewRecord, Position, closed, too_much_waits
from onhand.log.kafka_options import KafkaOptions, from_exception, translate

POLL_S: Final = 0.1
RECORD_OVERHEAD_BYTES: Final = 400
"""What a waiting record costs in librdkafka beside its bytes; a guess on the high side."""


class _Session:
    """A producer and the thread that takes its delivery reports."""

    def __init__(self, options: KafkaOptions) -> None:
        self.call_count = 0
        """Calls not wholly reported yet."""
        self.is_broken = False
        self._is_closing = False
        self.producer = Producer(options.producer())
        self._thread = threading.Thread(target=self._run, name="log-append", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the thread end once every call was reported."""
        self._is_closing = True

    def join(self, timeout_s: float) -> None:
        """Wait until everything on its way was reported."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while self.call_count or not self._is_closing:
            try:
                self.producer.poll(POLL_S)
            except KafkaException:
                # An idempotent producer that cannot keep its promise says so here and takes
                # nothing more; what is on its way is still reported. The next call gets a new
                # producer, and duplicates that this may cause are known by their ids.
                self.is_broken = True
                time.sleep(POLL_S)


class _Call:
    """One call's records on their way; done when every one of them was reported."""

    __slots__ = ("error", "future", "missing", "positions", "session", "size_bytes")

    session: _Session

    def __init__(self, record_count: int, size_bytes: int) -> None:
        self.future: Future[list[Position]] = Future()
        self.future.set_running_or_notify_cancel()
        self.positions: list[Position] = [("", 0, 0)] * record_count
        self.missing = record_count
        self.error: OnhandError | None = None
        self.size_bytes = size_bytes

    def report(self, error: OnhandError | None) -> bool:
        """Count one record as done with; return whether it was the last."""
        self.error = self.error or error
        self.missing -= 1
        return self.missing == 0

    def finish(self) -> None:
        """Tell the caller."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.positions)


class KafkaAppender:
    """Hands records to a producer and reports call by call.

    Parameters
    ----------
    options
        How to reach Kafka, and how much may wait.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self._options = options
        self._room = threading.Condition()
        self._waiting_bytes = 0
        self._is_closed = False
        self._session = self._start()

    def submit(
        self, records: Sequence[NewRecord], size_bytes: int, *, wait: bool
    ) -> Future[list[Position]]:
        """Send records; the future fails at once when too much waits and ``wait`` is False."""
        if not records:
            done: Future[list[Position]] = Future()
            done.set_result([])
            return done
        call = _Call(len(records), size_bytes + len(records) * RECORD_OVERHEAD_BYTES)
        try:
            call.session = self._enter(call, wait=wait)
        except OnhandError as error:
            call.future.set_exception(error)
            return call.future
        for index, record in enumerate(records):
            try:
                call.session.producer.produce(
                    self._options.topic_prefix + record.topic,
                    record.value,
                    record.key,
                    on_delivery=partial(self._delivered, call, index, record.topic),
                    headers=list(record.headers) or None,
                )
            except KafkaException as error:
                self._report(call, from_exception(error, self._options, record.topic))
            except BufferError:
                self._report(call, too_much_waits(self._waiting_bytes))
        return call.future

    def close(self) -> None:
        """Wait until all is delivered or has failed, which takes at most the append timeout."""
        with self._room:
            self._is_closed = True
            self._room.notify_all()
        self._session.end()
        self._session.join(self._options.append_timeout_s + 1)

    def _start(self) -> _Session:
        try:
            return _Session(self._options)
        except KafkaException as error:
            raise from_exception(error, self._options) from error

    def _enter(self, call: _Call, *, wait: bool) -> _Session:
        """Take room for a call and return the producer that is to carry it."""
        with self._room:
            while self._waiting_bytes and self._is_over(call) and not self._is_closed:
                if not wait:
                    raise too_much_waits(self._waiting_bytes)
                self._room.wait()
            if self._is_closed:
                raise closed()
            if self._session.is_broken:
                self._session.end()
                self._session = self._start()
            self._waiting_bytes += call.size_bytes
            self._session.call_count += 1
            return self._session

    def _is_over(self, call: _Call) -> bool:
        return self._waiting_bytes + call.size_bytes > self._options.waiting_bytes_max

    def _delivered(
        self,
        call: _Call,
        index: int,
        topic: str,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        if error is not None:
            self._report(call, translate(error, self._options, topic))
            return
        call.positions[index] = (topic, message.partition(), message.offset())  # type: ignore[assignment]
        self._report(call, None)

    def _report(self, call: _Call, error: OnhandError | None) -> None:
        # Reports come on the producer's thread and, for records it refuses, on the caller's.
        with self._room:
            is_last = call.report(error)
            if is_last:
                call.session.call_count -= 1
                self._waiting_bytes -= call.size_bytes
                self._room.notify_all()
        if is_last:
            with contextlib.suppress(Exception):
                call.finish()
