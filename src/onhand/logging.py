"""Structured logs on standard error: JSON lines for machines, readable text on a terminal.

Whatever is logged, by us or by a library, passes :func:`redact` first: tokens, passwords and the
like never reach a log.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog

from onhand.settings import MASK, mask_url

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import TextIO

    from structlog.typing import Processor

LogFormat = Literal["auto", "json", "text"]

_SECRET_NAME = re.compile(
    r"password|secret|token|authorization|cookie|api_?key|jaas", re.IGNORECASE
)
_TOKEN = re.compile(r"\boh_([0-9a-f]{4,32})_[A-Za-z0-9_-]{8,}")
_BEARER = re.compile(r"(?i)\b(bearer)\s+\S+")
_NOT_SECRET = frozenset({"token_id", "token_count"})


def configure_logging(
    log_format: LogFormat = "auto", level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Send our own and every library's log records through one pipeline.

    Parameters
    ----------
    log_format
        ``auto`` is text when the stream is a terminal and JSON lines when it is not.
    level
        The least severe level that is written.
    stream
        Where to write, by default standard error.
    """
    handler = _StandardError() if stream is None else logging.StreamHandler(stream)
    stream = sys.stderr if stream is None else stream
    colors = stream.isatty() and not os.environ.get("NO_COLOR")
    as_text = log_format == "text" or (log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_final(as_text=as_text, colors=colors),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Alembic tells at info what only its developers ask; the ledger logs a migration itself.
    logging.getLogger("alembic").setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Give a module its logger: ``log = get_logger(__name__)``, then ``log.info("x", key=1)``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Replace every secret in a log record, by its field's name or by its shape."""
    return {key: _redacted(key, value) for key, value in event.items()}


class _StandardError(logging.StreamHandler["TextIO"]):
    """Writes to whatever standard error is at the time, since it may be replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        msg = f"Condition failed: standard error is where logs go, not {stream!r}"
        raise TypeError(msg)


def _redacted(key: str, value: Any) -> Any:
    if _SECRET_NAME.search(str(key)) and key not in _NOT_SECRET:
        return MASK
    if isinstance(value, str):
        value = _TOKEN.sub(rf"oh_\1_{MASK}", value)
        value = _BEARER.sub(rf"\1 {MASK}", value)
        return mask_url(value)
    if isinstance(value, dict):
        return {inner: _redacted(inner, item) for inner, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted("", item) for item in value]
    return value


def _final(*, as_text: bool, colors: bool) -> list[Processor]:
    # Tracebacks become plain text before redaction: a pretty one would print local variables,
    # and with them whatever secret they hold.
    if as_text:
        return [
            structlog.processors.format_exc_info,
            redact,
            structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="time"),
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        redact,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _to_json(event: Mapping[str, Any], **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
