"""Struct types made ready for threads.

msgspec learns how to decode a type when it is first asked to, and shows what it has learnt before
that is whole: another thread that decodes the same type meanwhile ends the process by a
segmentation fault (msgspec 0.22). So a process makes every type ready before it has threads.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_structs_ready() -> None:
    """Make ready every struct of the modules loaded so far; call it before threads start.

    Takes about 20 ms for all of a server's.
    """
    for kind in _kinds_of(msgspec.Struct):
        if kind.__module__.split(".")[0] == "onhand":
            # One that names what only a type checker imports is written, and never read.
            with contextlib.suppress(TypeError, NameError):
                msgspec.json.Decoder(kind)


def _kinds_of(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds_of(each)
