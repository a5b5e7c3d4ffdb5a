"""What the bare server runs: no framework, no table, one constant answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_BODY = Path(os.environ["ONHAND_BENCH_ANSWER"]).read_bytes()
_HEADERS = [("content-type", "application/json")]


async def answer_body(_scope: Any, protocol: Any) -> None:
    """Read what is sent, and answer every request alike."""
    await protocol()
    protocol.response_bytes(201, _HEADERS, _BODY)


async def answer(_scope: Any, protocol: Any) -> None:
    """Answer every request alike."""
    protocol.response_bytes(200, _HEADERS, _BODY)
