"""A proxy before PostgreSQL that loses what a test wants lost."""

import contextlib
import select
import socket
import threading
from typing import Final

from tests.ports import free_port

COMMIT: Final = b"COMMIT"


class Proxy:
    """Forwards connections to a server until told otherwise.

    ``at_commit`` says what happens to the next COMMIT: ``lose_request`` (the server never sees
    it), ``lose_answer`` (the server made it, its client never hears), ``stall`` (it is kept here
    while both connections stay up).
    """

    def __init__(self, server):
        self._server = server
        # Listened on again later, and in between taken by no connection of anybody's.
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.at_commit = None
        self._pairs = []
        self._lock = threading.Lock()
        self._start()

    def refuse(self):
        """Stop listening and cut every connection: the server is gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self.cut()

    def listen_again(self):
        """Listen on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start()

    def cut(self):
        """Cut every connection, on both sides."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair, thread in pairs:
            _cut(pair)
            thread.join()

    def close(self):
        """Stop for good."""
        with contextlib.suppress(OSError):
            self.refuse()

    def _start(self):
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        listener = self._listener
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            pair = (client, socket.create_connection(self._server))
            thread = threading.Thread(target=self._forward, args=(*pair,), daemon=True)
            with self._lock:
                self._pairs.append((pair, thread))
            thread.start()

    def _forward(self, client, server):
        with client, server, contextlib.suppress(OSError):
            while True:
                readable, _, _ = select.select([client, server], [], [])
                for source in readable:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client and self.at_commit and COMMIT in data:
                        self._lose(server, data)
                        return
                    (server if source is client else client).sendall(data)

    def _lose(self, server, data):
        how, self.at_commit = self.at_commit, None
        if how == "stall":
            # A server within a transaction says nothing by itself: this ends when it is cut.
            server.recv(1)
        if how == "lose_answer":
            server.sendall(data)
            server.recv(1 << 16)


def _cut(pair):
    for each in pair:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
