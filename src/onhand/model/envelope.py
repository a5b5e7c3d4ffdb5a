"""From the bytes of a record to the event object in it: JSON, MessagePack, CloudEvents.

What a value is shows in its first byte, so publishers need set no header: MessagePack of an object
begins with a map marker, which no JSON text begins with. A CloudEvent in binary mode is its plain
event with headers beside it; in structured mode the event is its ``data``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import msgspec

from onhand.model.check import Refused
from onhand.model.codes import RejectCode
from onhand.model.events import EVENT_BYTES_MAX, EVENT_DEPTH_MAX

Headers = tuple[tuple[str, bytes], ...]

FORCE_HEADER: Final = "onhand-force"
_VERSION: Final = "1.0"
_MSGPACK_MARKERS: Final = frozenset([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""Maps and arrays; arrays are refused as no object, which says more than malformed JSON."""


class _Object(dict[str, Any]):
    """An object of JSON that knows whether a name came twice."""

    repeated: str | None = None


def read_event(value: bytes, headers: Headers = ()) -> tuple[object, str]:
    """Return the event object in a record and the JSON pointer to it.

    Raises
    ------
    Refused
        The value cannot be read, or its envelope breaks CloudEvents 1.0.
    """
    if not value:
        raise Refused(RejectCode.EMPTY_VALUE, "", "must have a value")
    if len(value) > EVENT_BYTES_MAX:
        detail = f"must have at most {EVENT_BYTES_MAX:,} bytes, has {len(value):,}"
        raise Refused(RejectCode.TOO_LARGE, "", detail)
    version = next((text for name, text in headers if name == "ce_specversion"), None)
    if version is not None and version != _VERSION.encode():
        _bad_cloudevent("", f"must be {_VERSION} in the header ce_specversion")
    found = _decode(value)
    if isinstance(found, dict) and _is_structured(found, headers):
        return _structured(found)
    return found, ""


def forced_codes(headers: Headers) -> frozenset[str]:
    """Return the codes that the record's ``onhand-force`` headers name."""
    named = (
        text.decode("ascii", "replace").split(",") for name, text in headers if name == FORCE_HEADER
    )
    return frozenset(code.strip() for codes in named for code in codes)


def _decode(value: bytes) -> object:
    """Decode one value, refusing an event or a line that names a field twice."""
    try:
        found = _decode_msgpack(value) if value[0] in _MSGPACK_MARKERS else _decode_json(value)
        too_deep = _is_deeper(found, EVENT_DEPTH_MAX)
    except RecursionError:
        too_deep = True
    if too_deep:
        detail = f"must be nested at most {EVENT_DEPTH_MAX} deep"
        raise Refused(RejectCode.TOO_DEEP, "", detail)
    return found


def _is_deeper(found: object, depth_max: int) -> bool:
    if isinstance(found, dict):
        found = found.values()
    elif not isinstance(found, list):
        return False
    return depth_max == 0 or any(_is_deeper(inner, depth_max - 1) for inner in found)


def _decode_json(value: bytes) -> object:
    try:
        found = msgspec.json.decode(value)
        # Only names matter here; numbers are not worth their conversion.
        shape = json.loads(
            value, object_pairs_hook=_object, parse_int=len, parse_float=len, parse_constant=len
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refused(RejectCode.MALFORMED_JSON, "", f"must be JSON: {_reason(error)}") from None
    if isinstance(shape, _Object):
        _refuse_repeated(shape, "")
        if isinstance(shape.get("data"), _Object):
            _refuse_repeated(shape["data"], "/data")
    return found


def _decode_msgpack(value: bytes) -> object:
    try:
        found = msgspec.msgpack.decode(value)
        if not isinstance(found, dict):
            return found
        _refuse_repeated_msgpack(value, found, "")
        if isinstance(found.get("lines"), list):
            raw = msgspec.msgpack.decode(value, type=dict[Any, msgspec.Raw])
            lines = msgspec.msgpack.decode(raw["lines"], type=list[msgspec.Raw])
            for index, (line, content) in enumerate(zip(found["lines"], lines, strict=True)):
                if isinstance(line, dict):
                    _refuse_repeated_msgpack(bytes(content), line, f"/lines/{index}")
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        detail = f"must be MessagePack: {_reason(error)}"
        raise Refused(RejectCode.MALFORMED_MSGPACK, "", detail) from None
    return found


def _refuse_repeated_msgpack(value: bytes, found: dict[Any, Any], pointer: str) -> None:
    """Compare the count of a map's entries with the count of its names."""
    marker = value[0]
    width = {0xDE: 2, 0xDF: 4}.get(marker, 0)
    count = int.from_bytes(value[1 : 1 + width]) if width else marker & 0x0F
    if count != len(found):
        raise Refused(RejectCode.REPEATED_FIELD, pointer, "must name each field once")


def _object(pairs: Iterable[tuple[str, Any]]) -> _Object:
    made = _Object()
    for name, value in pairs:
        if name in made:
            made.repeated = name
        made[name] = value
    return made


def _refuse_repeated(event: _Object, pointer: str) -> None:
    """Look at the event and its lines; what is deeper is the publisher's own."""
    lines = event.get("lines")
    within = lines if isinstance(lines, list) else []
    for found, place in [
        (event, pointer),
        *((x, f"{pointer}/lines/{i}") for i, x in enumerate(within)),
    ]:
        if isinstance(found, _Object) and found.repeated is not None:
            detail = f"must name each field once, {json.dumps(found.repeated)} came twice"
            raise Refused(RejectCode.REPEATED_FIELD, place, detail)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start} of a string"
    return str(error).removeprefix("JSON is malformed: ")


# -- CloudEvents ----------------------------------------------------------------------------------


def _is_structured(found: dict[str, Any], headers: Headers) -> bool:
    if any(
        name == "content-type" and text.lower().startswith(b"application/cloudevents")
        for name, text in headers
    ):
        return True
    return found.get("specversion") is not None and ("data" in found or "data_base64" in found)


def _structured(envelope: dict[str, Any]) -> tuple[object, str]:
    if envelope.get("specversion") != _VERSION:
        _bad_cloudevent("/specversion", f'must be "{_VERSION}"')
    for name in ("id", "source", "type"):
        if not isinstance(envelope.get(name), str) or not envelope[name]:
            _bad_cloudevent(f"/{name}", "must be a string that is not empty")
    encoded = envelope.get("data_base64")
    if encoded is None:
        if "data" not in envelope:
            _bad_cloudevent("/data", "must be there: it is the event")
        return envelope["data"], "/data"
    try:
        value = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        _bad_cloudevent("/data_base64", "must be a string in base64")
    if not value:
        _bad_cloudevent("/data_base64", "must not be empty: it is the event")
    return _decode(value), "/data_base64"


def _bad_cloudevent(pointer: str, detail: str) -> NoReturn:
    raise Refused(RejectCode.BAD_CLOUDEVENT, pointer, detail)
