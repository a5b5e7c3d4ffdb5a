"""Read a file of locations: CSV, a JSON array, or one JSON object a line.

The whole file is judged before anything of it is used, and every bad line is named.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from onhand.errors import FieldError, InvalidInput
from onhand.model.setup import ERROR_COUNT_MAX, Location, parse_location
from onhand.model.validate import escape

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

GROUP_SEPARATOR: Final = ";"
"""Parts the names in the ``groups`` column of a CSV file."""

_JSON_LINES: Final = (".ndjson", ".jsonl")
_NUMBER: Final = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?")
_TYPES: Final = {field.name: field.type for field in msgspec.structs.fields(Location)}
_KNOWN: Final = {*_TYPES, "configured"}
_Entry = tuple[str, object]


class BadLine(msgspec.Struct, frozen=True):
    """One place in the file and the rules it breaks."""

    place: str
    errors: tuple[FieldError, ...]

    def __str__(self) -> str:
        """Read as ``line 7: /field: rule; /field: rule``."""
        return f"{self.place}: {'; '.join(str(error) for error in self.errors)}"


class BadLocationFile(InvalidInput):
    """A file of which nothing was used; ``lines`` says why."""

    def __init__(self, lines: tuple[BadLine, ...]) -> None:
        count = f"{len(lines)} or more" if len(lines) >= ERROR_COUNT_MAX else str(len(lines))
        what = f"the file has {count} bad line{'' if len(lines) == 1 else 's'}"
        super().__init__(what, advice="Nothing was loaded; correct the file and load it again")
        self.lines = lines


def parse_location_file(content: bytes, suffix: str) -> list[Location]:
    """Read and judge a whole file.

    Parameters
    ----------
    content
        The file's bytes, UTF-8.
    suffix
        How its name ends: ``.csv``, ``.json``, ``.ndjson`` or ``.jsonl``.

    Raises
    ------
    BadLocationFile
        Naming every bad line.
    InvalidInput
        When the file as a whole cannot be read.
    """
    suffix = suffix.lower()
    if suffix == ".csv":
        entries = _csv_entries(_text(content))
    elif suffix in _JSON_LINES:
        entries = _line_entries(_text(content))
    elif suffix == ".json":
        entries = _json_entries(content)
    else:
        what = f"a file of locations cannot end in {suffix!r}"
        raise InvalidInput(what, advice="Name it .csv, .json, .ndjson or .jsonl")
    return _judge(entries)


def _judge(entries: Iterator[_Entry]) -> list[Location]:
    locations: dict[str, Location] = {}
    bad: list[BadLine] = []
    for place, entry in entries:
        try:
            location = _parse(entry, locations)
            locations[location.id] = location
        except InvalidInput as error:
            bad.append(BadLine(place, error.errors))
            if len(bad) >= ERROR_COUNT_MAX:
                break
    if bad:
        raise BadLocationFile(tuple(bad))
    return list(locations.values())


def _parse(entry: object, before: Container[str]) -> Location:
    if isinstance(entry, InvalidInput):
        raise entry
    if not isinstance(entry, dict):
        raise InvalidInput("not a location", (FieldError("", "must be an object"),))
    location_id = entry.get("id")
    if not isinstance(location_id, str):
        raise InvalidInput("not a location", (FieldError("/id", "is required, as text"),))
    if location_id in before:
        raise InvalidInput("not a location", (FieldError("/id", "stands in this file before"),))
    return parse_location(location_id, entry)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"line {line} is not UTF-8"
        raise InvalidInput(what, advice="Save the file as UTF-8") from error


def _json_entries(content: bytes) -> Iterator[_Entry]:
    try:
        document = msgspec.json.decode(_text(content))
    except msgspec.DecodeError as error:
        what = f"the file is not valid JSON: {error}"
        raise InvalidInput(what, advice="Correct the file") from error
    if isinstance(document, dict):
        document = document.get("items", document.get("locations"))
    if not isinstance(document, list):
        what = "the file holds no array of locations"
        raise InvalidInput(what, advice='Write [{"id": ..., "name": ..., "type": ...}, ...]')
    return ((f"item {index}", entry) for index, entry in enumerate(document, start=1))


def _line_entries(text: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"line {number}", _decoded(line, "")


def _csv_entries(text: str) -> Iterator[_Entry]:
    rows = _csv_rows(text)
    place, header = next(rows, ("line 1", []))
    if isinstance(header, list):
        header = _header(header)
    if isinstance(header, InvalidInput):
        # Every row would only say the same again.
        yield place, header
        return
    for place, cells in rows:
        yield place, _row(header, cells) if isinstance(cells, list) else cells


def _csv_rows(text: str) -> Iterator[tuple[str, list[str] | InvalidInput]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        place = f"line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, _broken("", f"is not valid CSV: {error}")
            return
        if any(cell.strip() for cell in cells):
            yield place, [cell.strip() for cell in cells]


def _header(names: list[str]) -> list[str] | InvalidInput:
    errors = [
        FieldError(f"/{escape(name)}", "is no known field") for name in names if name not in _KNOWN
    ]
    errors += [
        FieldError(f"/{name}", "stands in the header twice")
        for name, count in Counter(names).items()
        if count > 1
    ]
    return InvalidInput("not a header", tuple(errors)) if errors else names


def _row(header: list[str], cells: list[str]) -> object:
    if len(cells) > len(header):
        return _broken("", f"has {len(cells)} cells under {len(header)} columns")
    row: dict[str, Any] = {}
    for name, text in zip(header, cells, strict=False):
        # An empty cell is a field left out.
        if text and name in _TYPES:
            row[name] = _cell(name, text)
            if isinstance(row[name], InvalidInput):
                return row[name]
    return row


def _cell(name: str, text: str) -> object:
    if name == "groups":
        return [part.strip() for part in text.split(GROUP_SEPARATOR) if part.strip()]
    if name == "opening_hours":
        return _decoded(text, f"/{name}")
    try:
        return msgspec.convert(text, _TYPES[name], strict=False)
    except msgspec.ValidationError:
        # Judged with all the other fields, where the rule is worded; a number as a number.
        return float(text) if _NUMBER.fullmatch(text) else text


def _decoded(text: str, pointer: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return _broken(pointer, f"is not valid JSON: {error}")


def _broken(pointer: str, rule: str) -> InvalidInput:
    return InvalidInput("not a location", (FieldError(pointer, rule),))
