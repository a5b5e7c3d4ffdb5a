"""The server's interface, RSGI, as this package uses it."""

from __future__ import annotations

from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope  # type: ignore[attr-defined]

__all__ = ["HTTPProtocol", "ProtocolClosed", "Scope"]
