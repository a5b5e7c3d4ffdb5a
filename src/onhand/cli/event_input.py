"""Read events out of a file or a pipe: JSON objects, an array of them, or one a line.

Nothing is judged here beyond where one event ends and the next begins; each keeps its bytes.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

_WHITE: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"


class InputEvent(msgspec.Struct, frozen=True):
    """The bytes of one event and where they stood, such as ``line 7`` or ``item 3``."""

    place: str
    value: bytes


def read_events(stream: BinaryIO) -> Iterator[InputEvent]:
    """Part a stream into events.

    Lines are read one by one, however many there are; an array, or an object written over several
    lines, is read whole. What is no JSON comes out as it stands, for whoever judges it to refuse.
    """
    lines = _numbered(stream)
    first = next(lines, None)
    if first is None:
        return
    number, line = first
    if line.lstrip(_WHITE).startswith(b"["):
        yield from _array(line + stream.read())
    elif _is_json(line):
        yield from _lines(itertools.chain((first,), lines))
    else:
        yield from _objects(line + stream.read(), number)


def _numbered(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(stream, start=1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if content.strip(_WHITE):
            yield number, content


def _lines(lines: Iterable[tuple[int, bytes]]) -> Iterator[InputEvent]:
    for number, line in lines:
        yield InputEvent(f"line {number}", line.strip(_WHITE))


def _array(content: bytes) -> Iterator[InputEvent]:
    try:
        items = msgspec.json.decode(content, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        yield InputEvent("item 1", content)
        return
    for index, item in enumerate(items, start=1):
        yield InputEvent(f"item {index}", bytes(item))


def _objects(content: bytes, line_number: int) -> Iterator[InputEvent]:
    """Part objects that follow one another, each over any number of lines."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        yield from _broken(content, line_number)
        return
    decoder = json.JSONDecoder()
    position = 0
    while position < len(text):
        if text[position].isspace():
            line_number += text[position] == "\n"
            position += 1
            continue
        try:
            _, end = decoder.raw_decode(text, position)
        except ValueError:
            yield from _broken(text[position:].encode(), line_number)
            return
        yield InputEvent(f"line {line_number}", text[position:end].encode())
        line_number += text.count("\n", position, end)
        position = end


def _broken(content: bytes, line_number: int) -> Iterator[InputEvent]:
    # Where an event ends can no longer be told; lines are the best guess, so that good ones live.
    lines = enumerate(content.split(b"\n"), start=line_number)
    yield from _lines((number, line) for number, line in lines if line.strip(_WHITE))


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
