"""Durations and sizes as people write them: ``72h``, ``500ms``, ``off``, ``16GiB``."""

from __future__ import annotations

import re
from datetime import timedelta

OFF = "off"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?", re.IGNORECASE)
_BYTES = {
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}


def parse_duration(text: str) -> timedelta | None:
    """Read ``72h``, ``1h30m``, ``250ms``, or ``off`` (None).

    Raises
    ------
    ValueError
        For anything else, a bare number included: its unit would be a guess.
    """
    text = text.strip()
    if text == OFF:
        return None
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        msg = f"expected a duration such as 72h, 30s, 250ms or {OFF}, got {text!r}"
        raise ValueError(msg)
    total_us = sum(float(number) * _MICROSECONDS[unit] for number, unit in parts)
    return timedelta(microseconds=round(total_us))


def format_duration(duration: timedelta | None) -> str:
    """Write a duration so that :func:`parse_duration` reads it back."""
    if duration is None:
        return OFF
    left_us = duration // timedelta(microseconds=1)
    parts = []
    for unit in ("h", "m", "s", "ms", "us"):
        count, left_us = divmod(left_us, _MICROSECONDS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size_bytes(text: str) -> int:
    """Read ``16GiB``, ``1.5 MB`` or a plain number of bytes.

    Raises
    ------
    ValueError
        When the text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        msg = f"expected a size such as 16GiB or 512MiB, got {text!r}"
        raise ValueError(msg)
    return round(float(match[1]) * _BYTES[(match[2] or "B").lower()])


def format_size_bytes(size_bytes: int) -> str:
    """Write a size in the largest binary unit that divides it."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = _BYTES[unit.lower()]
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)
