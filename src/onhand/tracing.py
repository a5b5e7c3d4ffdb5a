"""Traces by OpenTelemetry, off unless ``otlp_endpoint`` is set; nothing else knows the library.

Whoever may be traced holds a :class:`Tracing`, or None when it is off. It answers a :class:`Trace`
for what is sampled and None for all else, so what is not traced costs a look. Open it in the
process that uses it: its thread does not survive a fork.

Spans wait in a queue with an end, from which one thread sends them by OTLP over HTTP. Nobody ever
waits for it, and nothing but the traces suffers when the collector is away.
"""

from __future__ import annotations

import base64
import contextvars
import logging
import os
import random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from onhand import __version__
from onhand.errors import SettingsError
from onhand.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span

    from onhand.metrics import Page
    from onhand.settings import Settings

    Attributes = Mapping[str, str | int]
    Headers = Iterable[tuple[str, bytes]]

WAITING_COUNT_MAX: Final = 2_048
"""Spans that may wait to be sent; more are dropped."""

SEND_COUNT_MAX: Final = 128
SEND_INTERVAL_MS: Final = 1_000
SEND_S_MAX: Final = 5.0
"""How long one sending may take, tried again and again; what it was to send is lost then."""

CLOSE_S_MAX: Final = 2.0
"""How long a process that ends waits for its last spans to be sent."""

WARN_S: Final = 60.0
"""Between warnings that spans are lost."""

TRACESTATE_LENGTH_MAX: Final = 512
"""W3C asks for as much; a longer one is left out."""

TRACEPARENT: Final = "traceparent"
CLOUDEVENTS_TRACEPARENT: Final = "ce_traceparent"
"""What the extension attribute of CloudEvents is called in binary mode."""

_PATH: Final = "/v1/traces"
_FLAGS: Final = 54
"""Where in a traceparent the digit stands whose lowest bit says that it is sampled."""

_SAMPLED: Final = frozenset("13579bdf")
_EVENT_MARK: Final = b'"traceparent"'
_SERVER_FAULT: Final = 500

_current: contextvars.ContextVar[RequestTrace | None] = contextvars.ContextVar(
    "trace", default=None
)
log = get_logger(__name__)


class _Envelope(msgspec.Struct):
    traceparent: str = ""


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def require(settings: Settings) -> None:
    """Load the library if traces are asked for.

    Raises
    ------
    SettingsError
        They are, and it is not installed.
    """
    if settings.otlp_endpoint is None:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: PLC0415
        import opentelemetry.sdk.trace.export  # noqa: F401, PLC0415
    except ImportError as error:
        raise SettingsError(
            f"otlp_endpoint is set, and traces need the package {error.name}, which is missing",
            "Install it: pip install 'onhand[tracing]'; or leave otlp_endpoint out",
        ) from error


def open_tracing(settings: Settings, *, role: str, cluster_id: str, page: Page) -> Tracing | None:
    """Begin to trace in this process; None when ``otlp_endpoint`` is not set.

    Parameters
    ----------
    role
        What the process is, such as ``serve`` or ``ingest``.
    page
        Where spans are counted.

    Raises
    ------
    SettingsError
        The library is not installed.
    """
    require(settings)
    if settings.otlp_endpoint is None:
        return None
    return Tracing(
        settings.otlp_endpoint,
        settings.trace_sample_ratio,
        {"onhand.role": role, "onhand.cluster_id": cluster_id, "process.pid": os.getpid()},
        page,
    )


class Trace:
    """Something sampled, within which spans are told of."""

    def __init__(self, tracing: Tracing, context: Context) -> None:
        self._tracing = tracing
        self._context = context

    def span(
        self,
        name: str,
        begun_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        error: str | None = None,
        kind: str = "INTERNAL",
    ) -> None:
        """Tell of what is over: a span within this one, from one time since 1970 to another."""
        span = self._tracing.start(name, self._context, kind, begun_ns, attributes)
        if error is not None:
            self._tracing.fail(span, error)
        # Clocks of two machines may disagree.
        span.end(max(begun_ns, ended_ns))


class RequestTrace(Trace):
    """A sampled request; ``route`` and ``status`` are noted by who answers it."""

    def __init__(self, tracing: Tracing, context: Context, span: Span) -> None:
        super().__init__(tracing, context)
        self._span = span
        self.route = ""
        self.status = 0

    def context(self) -> contextvars.Context:
        """Return a context for a task in which :func:`current_trace` is this."""
        made = contextvars.copy_context()
        made.run(_current.set, self)
        return made

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Write what makes others' spans children of this one, as headers of a record."""
        place = self._span.get_span_context()
        return ((TRACEPARENT, f"00-{place.trace_id:032x}-{place.span_id:016x}-01".encode()),)

    def end(self, method: str) -> None:
        """Tell of the request, once it is answered or given up."""
        if self.route:
            self._span.update_name(f"{method} {self.route}")
            self._span.set_attribute("http.route", self.route)
        if self.status:
            self._span.set_attribute("http.response.status_code", self.status)
        if self.status >= _SERVER_FAULT:
            self._tracing.fail(self._span, str(self.status))
        self._span.end()


def current_trace() -> RequestTrace | None:
    """Return the request that this task answers, if it is traced."""
    return _current.get()


def trace_headers() -> tuple[tuple[str, bytes], ...]:
    """Write headers of records that belong to :func:`current_trace`; none when there is none."""
    trace = _current.get()
    return () if trace is None else trace.headers()


class Tracing:
    """What one process traces.

    Parameters
    ----------
    endpoint
        An http or https URL; spans go to ``/v1/traces`` below it.
    sample_ratio
        Of the requests that come without a traceparent, how many are traced.
    attributes
        What every span says of the process.
    """

    def __init__(
        self, endpoint: str, sample_ratio: float, attributes: Attributes, page: Page
    ) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - the library loads only here
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._api = trace
        self._ratio = sample_ratio
        self._extract = TraceContextTextMapPropagator().extract
        own = {"service.name": "onhand", "service.version": __version__, **attributes}
        # What comes to the library is sampled already, see request(): its own way there makes a
        # span first, which is as much as a read costs.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(own), shutdown_on_exit=False
        )
        self._provider.add_span_processor(_sending(endpoint, page))
        self._tracer = self._provider.get_tracer("onhand", __version__)

    def request(
        self, method: str, traceparent: str | None, tracestate: str | None, *, may_draw: bool
    ) -> RequestTrace | None:
        """Begin a request's span if it is to be traced.

        Parameters
        ----------
        traceparent, tracestate
            The headers of these names, by W3C. A sampled traceparent is followed always, one that
            is not sampled never; without one, or with one that cannot be read, chance decides.
        may_draw
            Whether chance may decide for it.
        """
        parent, is_sampled = self._caller(traceparent, tracestate)
        if parent is None:
            is_sampled = may_draw and random.random() < self._ratio  # noqa: S311 - a sample, no secret
        if not is_sampled:
            return None
        attributes = {"http.request.method": method}
        span = self.start(method, parent, "SERVER", time.time_ns(), attributes)
        return RequestTrace(self, self._api.set_span_in_context(span, parent), span)

    def sampled(self, headers: Headers | None, value: bytes = b"") -> Trace | None:
        """Return what a record of the log belongs to, if that is sampled.

        Parameters
        ----------
        value
            The record's value, if it may be a CloudEvent that says so within.
        """
        text = ""
        for name, content in headers or ():
            if name == TRACEPARENT:
                text = content.decode("latin-1")
                break
            if name == CLOUDEVENTS_TRACEPARENT:
                text = content.decode("latin-1")
        if not text and _EVENT_MARK in value:
            text = _traceparent_within(value)
        if len(text) <= _FLAGS or text[_FLAGS] not in _SAMPLED:
            return None
        context, is_sampled = self._caller(text)
        return Trace(self, context) if context is not None and is_sampled else None

    def start(
        self, name: str, context: Context | None, kind: str, begun_ns: int, attributes: Attributes
    ) -> Span:
        """Begin a span; for traces."""
        kind_of = self._api.SpanKind[kind]
        return self._tracer.start_span(name, context, kind_of, attributes, start_time=begun_ns)

    def fail(self, span: Span, error: str) -> None:
        """Mark a span as failed; for traces."""
        span.set_status(self._api.StatusCode.ERROR, error)

    def close(self) -> None:
        """Send what waits, for a moment, and end."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_S_MAX)
        if closing.is_alive():
            log.warning("last_spans_not_sent", seconds=CLOSE_S_MAX)

    def _caller(
        self, traceparent: str | None, tracestate: str | None = None
    ) -> tuple[Context | None, bool]:
        """Read who calls, None when nobody says so legibly, and whether that is sampled."""
        if traceparent is None:
            return None, False
        carrier = {TRACEPARENT: traceparent}
        if tracestate is not None and len(tracestate) <= TRACESTATE_LENGTH_MAX:
            carrier["tracestate"] = tracestate
        context = self._extract(carrier)
        place = self._api.get_current_span(context).get_span_context()
        return (context, place.trace_flags.sampled) if place.is_valid else (None, False)


def _traceparent_within(value: bytes) -> str:
    """Read the extension attribute of a CloudEvent in structured mode; empty when there is none."""
    try:
        return _decode_envelope(value).traceparent
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


class _Counts:
    """How many spans wait, were sent and were lost; says so when some are lost, now and then."""

    def __init__(self, page: Page) -> None:
        self._lock = threading.Lock()
        self._sent = page.counter("onhand_spans_total", "sent")
        self._lost = page.counter("onhand_spans_total", "lost")
        self._waiting_count = 0
        self._lost_count = 0
        self._warn_at_s = 0.0

    def enter(self) -> bool:
        """Count a span that wants to wait; False when there is no room for it."""
        with self._lock:
            if self._waiting_count < WAITING_COUNT_MAX:
                self._waiting_count += 1
                return True
        self.lose(1, f"{WAITING_COUNT_MAX:,} spans wait already")
        return False

    def leave(self, count: int) -> None:
        """Count spans that no longer wait."""
        with self._lock:
            self._waiting_count -= count

    def send(self, count: int) -> None:
        """Count spans that the collector has."""
        self._sent.add(count)

    def lose(self, count: int, reason: str) -> None:
        """Count spans that nobody will see."""
        with self._lock:
            self._lost.add(count)
            self._lost_count += count
            if time.monotonic() < self._warn_at_s:
                return
            self._warn_at_s = time.monotonic() + WARN_S
            lost, self._lost_count = self._lost_count, 0
        log.warning("spans_lost", count=lost, reason=reason)


class _Said(logging.Handler):
    """Keeps the library's own lines out of the log: it writes several for every try."""

    def __init__(self) -> None:
        super().__init__()
        # The last line says that it gives up, the one before why.
        self._lines: deque[str] = deque(maxlen=2)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())
        log.debug("opentelemetry", said=self._lines[-1])

    def lines(self) -> str:
        """Return the last that the library said."""
        return " ".join(self._lines)


def _sending(endpoint: str, page: Page) -> Any:
    """Make what takes ended spans and sends them from a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        SpanExportResult,
    )

    counts = _Counts(page)
    said = _Said()
    library = logging.getLogger("opentelemetry")
    library.handlers = [said]
    library.propagate = False

    class Exporter(OTLPSpanExporter):
        """Counts what it sends."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            counts.leave(len(spans))
            result = super().export(spans)
            if result is SpanExportResult.SUCCESS:
                counts.send(len(spans))
            else:
                counts.lose(len(spans), said.lines())
            return result

    class Processor(BatchSpanProcessor):
        """Counts what it is given, and drops new spans where the library would drop old ones."""

        def on_end(self, span: ReadableSpan) -> None:
            if counts.enter():
                super().on_end(span)

    url, headers = endpoint_of(endpoint)
    exporter = Exporter(endpoint=url, headers=headers, timeout=SEND_S_MAX)
    return Processor(
        exporter,
        max_queue_size=WAITING_COUNT_MAX,
        schedule_delay_millis=SEND_INTERVAL_MS,
        max_export_batch_size=SEND_COUNT_MAX,
    )


def endpoint_of(endpoint: str) -> tuple[str, dict[str, str]]:
    """Return where spans are posted and with which headers: no URL in use holds a password."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    user, is_named, place = parts.netloc.rpartition("@")
    headers = {}
    if is_named:
        token = base64.b64encode(unquote(user).encode()).decode()
        headers["authorization"] = f"Basic {token}"
    return f"{parts.scheme}://{place}{path}", headers
