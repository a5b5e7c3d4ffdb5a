"""A collector of traces for tests: it takes OTLP over HTTP and keeps every span it was sent."""

import contextlib
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.deployments import wait_until


class Span(NamedTuple):
    """A span as it was sent; ids in hex, times in nanoseconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    begun_ns: int
    ended_ns: int
    attributes: dict
    process: dict
    is_failed: bool


class Collector:
    """A receiver at ``url``; ``hold`` lets requests wait until ``release``."""

    def __init__(self):
        self.requests = []
        self._spans = []
        self._may_answer = threading.Event()
        self._may_answer.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector._may_answer.wait(60)
                collector._take(self.path, dict(self.headers.items()), body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def place(self):
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self):
        return f"http://{self.place}"

    def hold(self):
        self._may_answer.clear()

    def release(self):
        self._may_answer.set()

    def close(self):
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def spans(self, trace):
        return [span for span in list(self._spans) if span.trace == trace]

    def spans_of(self, cluster_id):
        """List what the processes of a deployment have told."""
        spans = list(self._spans)
        return [each for each in spans if each.process.get("onhand.cluster_id") == cluster_id]

    def wait_spans(self, trace, *names):
        """Wait until a trace has spans of these names; answer one of each, in that order."""

        def found():
            by_name = {span.name: span for span in self.spans(trace)}
            return [by_name[name] for name in names] if by_name.keys() >= set(names) else None

        return wait_until(found)

    def _take(self, path, headers, body):
        sent = ExportTraceServiceRequest.FromString(body)
        self.requests.append((path, {name.lower(): value for name, value in headers.items()}))
        for resource in sent.resource_spans:
            process = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self._spans += [_span(span, process) for span in scope.spans]


class Caller:
    """Somebody whose own span asks for something: the parent of what a server then tells."""

    def __init__(self, *, sampled=True):
        self.trace = secrets.token_hex(16)
        self.id = secrets.token_hex(8)
        self.traceparent = f"00-{self.trace}-{self.id}-{'01' if sampled else '00'}"

    @property
    def headers(self):
        return {"traceparent": self.traceparent}


def carried(caller, name="traceparent"):
    """Write a caller's context as the headers of a record."""
    return ((name, caller.traceparent.encode()),)


def _span(span, process):
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        begun_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        attributes=_values(span.attributes),
        process=process,
        is_failed=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _values(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture
def collector():
    """Give a collector of the test's own."""
    with contextlib.closing(Collector()) as collector:
        yield collector
