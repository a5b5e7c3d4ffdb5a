"""Ports for the servers of tests."""

import contextlib
import random
import socket

FIRST, LAST = 10_000, 32_000
"""Below what the kernel hands out to connections (from 32,768 on): of those one may be taken by
any connection between being found free and being listened on."""

_random = random.SystemRandom()


def free_port():
    """Find a port that is free, and so is the next one: workers of a store front listen there.

    Tests run in several processes; with chance choosing, two find the same once in a long while.
    """
    while True:
        port = _random.randrange(FIRST, LAST)
        if _is_free(port) and _is_free(port + 1):
            return port


def _is_free(port):
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
