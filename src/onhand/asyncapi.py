"""The published schema of the topics, AsyncAPI 3: made of the types and topics that run.

``python -m onhand.docs asyncapi`` prints it; docs/reference/asyncapi.json is a copy of that. It
speaks as onhand does: what it receives others publish, what it sends others may read.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from onhand import __version__
from onhand.ingest.changes import Told
from onhand.log.topics import (
    AVAILABILITY,
    CLAIMS,
    DEAD_LETTERS,
    EVENT_TOPICS,
    LEDGER,
    ORDER_EVENTS,
    TOPICS,
    Topic,
)
from onhand.model.events import (
    EVENT_STRUCTS,
    Adjustment,
    AdjustmentLine,
    Count,
    Event,
    Expected,
    Inspected,
    LedgerFields,
    Line,
    Receipt,
    Return,
    Sale,
    TotalLine,
    TransferLost,
    TransferReceived,
    TransferShipped,
)
from onhand.order_events import CHANGES, OrderEvent, event_types
from onhand.orders.desk import EVENT_SOURCE

Json = dict[str, Any]

_SCHEMA: Final = "#/components/schemas/{name}"
_KAFKA_BINDING: Final = "0.5.0"
_TEXT: Final = {"type": "string"}
_NUMBER_TEXT: Final = {"type": "string", "pattern": "^[0-9]+$"}
_CLAIM_TYPES: Final = ("sale", "return")

DEAD_LETTER_HEADERS: Final[dict[str, Json]] = {
    "__connect.errors.topic": _TEXT | {"description": "Where the refused record came from"},
    "__connect.errors.partition": _NUMBER_TEXT,
    "__connect.errors.offset": _NUMBER_TEXT,
    "__connect.errors.exception.message": _TEXT | {"description": "The rule it broke"},
    "onhand.code": _TEXT | {"description": "The rule, for programs"},
    "onhand.pointer": _TEXT | {"description": "JSON Pointer to the field"},
    "onhand.append_us": _NUMBER_TEXT
    | {"description": "When the refused record entered the log, microseconds since 1970 UTC"},
}
DEAD_LETTER_CUT_HEADERS: Final[dict[str, Json]] = {
    "onhand.size": _NUMBER_TEXT | {"description": "Bytes of the whole value, where it was cut"},
    "onhand.sha256": _TEXT | {"description": "SHA-256 of the whole value, where it was cut"},
}
CLAIM_HEADERS: Final[dict[str, Json]] = {
    "onhand.origin.topic": _TEXT,
    "onhand.origin.partition": _NUMBER_TEXT,
    "onhand.origin.offset": _NUMBER_TEXT,
}
_CLOUDEVENT_HEADERS: Final[dict[str, Json]] = {
    "ce_specversion": {"const": "1.0", "description": "CloudEvents in binary mode"},
    "ce_id": _TEXT,
    "ce_source": _TEXT,
    "ce_type": _TEXT,
    "content-type": _TEXT,
}
"""All may be left out: the value says all that is needed."""

_DESCRIPTIONS: Final = {
    **dict.fromkeys(
        EVENT_TOPICS,
        "Stock events. Any type is accepted on any of the stock topics, in any order; the same "
        "(source, id) twice has the effect of once. The key is anything stable: a SKU, a store, a "
        "basket. A sampled W3C traceparent, in a header `traceparent` or as the extension of "
        "CloudEvents, is followed where traces are on.",
    ),
    LEDGER: "Movements that the order ledger decided, in a sequence without gaps. onhand's own.",
    CLAIMS: "Sales and returns that name an allocation, an order or a return: the ledger decides "
    "what they are. Key, value and headers as published.",
    DEAD_LETTERS: "Records that were refused, key, value and headers as published. One that is "
    "larger than the topic takes is cut to its first 64 KiB.",
    AVAILABILITY: "Every change of available, coalesced. Compacted: a record says what is, not "
    "what happened.",
    ORDER_EVENTS: "Changes of holds, orders, tasks, allocations and returns as CloudEvents, "
    "each once it is on disk. The key is the id of the hold or order, whose events are in order. "
    "After a fault some are told again, with the same `id`.",
}

_HEAD: Final[dict[str, Any]] = {
    "id": "basket-8841",
    "source": "till-7",
    "occurred_at": datetime(2026, 3, 29, 14, 30, tzinfo=UTC),
}
_TRANSFER: Final[dict[str, Any]] = _HEAD | {
    "transfer_id": "t-17",
    "from_": "depot",
    "to": "store-7",
    "lines": [Line("shirt-m", 12)],
}
_PLACE: Final[dict[str, Any]] = _HEAD | {"location": "store-7", "sku": "shirt-m"}
EXAMPLES: Final[tuple[Event, ...]] = (
    Sale(**_PLACE, quantity=1),
    Receipt(**_PLACE, quantity=24, purchase_order="po-311"),
    Expected(
        **_HEAD,
        location="store-7",
        lines=[TotalLine("shirt-m", 24)],
        expected_on=date(2026, 4, 2),
        purchase_order="po-311",
    ),
    TransferShipped(**_TRANSFER),
    TransferReceived(**_TRANSFER),
    TransferLost(**_TRANSFER),
    Return(**_PLACE, quantity=1, disposition="inspect"),
    Inspected(**_PLACE, quantity=1, disposition="sellable"),
    Count(**_PLACE, quantity=8),
    Adjustment(
        **_HEAD, location="store-7", lines=[AdjustmentLine("shirt-m", -1)], reason="breakage"
    ),
)


def asyncapi_document() -> Json:
    """Describe every topic, who writes it, and its messages."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "onhand",
            "version": __version__,
            "description": "The topics of onhand. A value is one JSON object in UTF-8; MessagePack "
            "of the same object is accepted wherever JSON is. A field that is null counts as left "
            "out; fields that onhand does not know are kept, ignored and counted.\n\n"
            "Generated by `python -m onhand.docs asyncapi`.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{brokers}",
                "protocol": "kafka",
                "description": "The brokers that `--kafka` names. With the embedded log the same "
                "topics are in the data directory, and events come by `POST /v1/events`.",
                "variables": {"brokers": {"default": "localhost:9092"}},
            }
        },
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {_operation_name(topic): _operation(topic) for topic in TOPICS},
        "components": {"messages": messages, "schemas": _schemas()},
    }


def asyncapi_page() -> str:
    """Write docs/reference/asyncapi.json."""
    encoded = msgspec.json.encode(asyncapi_document(), order="deterministic")
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


# -- topics ----------------------------------------------------------------------------------------


def _message_names(topic: Topic) -> list[str]:
    named = {
        LEDGER: ["ledger_event"],
        CLAIMS: ["claim"],
        DEAD_LETTERS: ["dead_letter", "resubmitted"],
        AVAILABILITY: ["availability"],
        ORDER_EVENTS: [_change_name(thing) for thing in CHANGES],
    }
    return named.get(topic.name, [*EVENT_STRUCTS, "cloud_event"])


def _channel(topic: Topic) -> Json:
    kafka: Json = {
        "topicConfiguration": {
            "cleanup.policy": ["compact" if topic.compacted else "delete"],
            "max.message.bytes": topic.record_bytes_max,
        },
        "bindingVersion": _KAFKA_BINDING,
    }
    if topic.partition_count is not None:
        kafka["partitions"] = topic.partition_count
    return {
        "address": topic.name,
        "description": _DESCRIPTIONS[topic.name],
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(topic)
        },
        "bindings": {"kafka": kafka},
    }


def _operation_name(topic: Topic) -> str:
    return f"{_action(topic)}_{topic.name.replace('.', '_').replace('-', '_')}"


def _action(topic: Topic) -> str:
    return "receive" if topic.name in (*EVENT_TOPICS, LEDGER) else "send"


def _operation(topic: Topic) -> Json:
    return {"action": _action(topic), "channel": {"$ref": f"#/channels/{topic.name}"}}


# -- messages --------------------------------------------------------------------------------------


def _messages() -> Json:
    messages = {
        name: _event_message(name, kind, msgspec.to_builtins(example))
        for (name, kind), example in zip(EVENT_STRUCTS.items(), EXAMPLES, strict=True)
    }
    return messages | {
        "cloud_event": _message(
            "An event in a CloudEvent, structured mode; in binary mode headers are added to the "
            "plain event.",
            _ref("CloudEvent"),
            content_type="application/cloudevents+json",
        ),
        "ledger_event": _message(
            "A movement that the order ledger decided.",
            {"allOf": [_any_event(EVENT_STRUCTS), _ref("LedgerFields")]},
        ),
        "claim": _message(
            "A sale or return for the ledger to decide.",
            _any_event(_CLAIM_TYPES),
            headers=_headers(CLAIM_HEADERS, required=CLAIM_HEADERS),
        ),
        "dead_letter": _message(
            "A refused record; its value is whatever was published.",
            {},
            headers=_headers(
                DEAD_LETTER_HEADERS | DEAD_LETTER_CUT_HEADERS, required=DEAD_LETTER_HEADERS
            ),
            content_type="application/octet-stream",
        ),
        "resubmitted": _message(
            "A dead letter was sent again; no value.",
            {"type": "null"},
            headers=_headers(
                {
                    "onhand.resubmitted": {
                        "type": "string",
                        "description": "partition:offset of the dead letter",
                    }
                },
                required=["onhand.resubmitted"],
            ),
        ),
        "availability": _message(
            "What a cell or a group has available now.",
            _ref("Told"),
            key="`sku|location` or `sku|group:NAME`",
        ),
        **{_change_name(thing): _change_message(thing) for thing in CHANGES},
    }


def _change_name(thing: str) -> str:
    return f"{thing}_changed"


def _change_message(thing: str) -> Json:
    kind, changes = CHANGES[thing]
    payload = {
        "allOf": [
            _ref(OrderEvent.__name__),
            {
                "properties": {
                    "source": {"const": EVENT_SOURCE},
                    "type": {"enum": event_types(thing)},
                    "data": _ref(kind.__name__),
                }
            },
        ]
    }
    return _message(
        f"A change of {'an' if thing[0] in 'ao' else 'a'} {thing}: {', '.join(changes)}.",
        payload,
        content_type="application/cloudevents+json",
        key="Id of the hold or order.",
    )


def _event_message(name: str, kind: type[Event], example: Json) -> Json:
    message = _message(
        (kind.__doc__ or "").strip(), _ref(kind.__name__), headers=_headers(_CLOUDEVENT_HEADERS)
    )
    return message | {"name": name, "examples": [{"name": name, "payload": example}]}


def _message(
    summary: str,
    payload: Json,
    *,
    headers: Json | None = None,
    content_type: str = "application/json",
    key: str | None = None,
) -> Json:
    message: Json = {"summary": summary, "contentType": content_type, "payload": payload}
    if headers is not None:
        message["headers"] = headers
    if key is not None:
        bound = {"key": {"type": "string", "description": key}, "bindingVersion": _KAFKA_BINDING}
        message["bindings"] = {"kafka": bound}
    return message


def _headers(properties: dict[str, Json], required: Any = ()) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _any_event(types: Any) -> Json:
    return {"oneOf": [_ref(EVENT_STRUCTS[name].__name__) for name in types]}


def _ref(name: str) -> Json:
    return {"$ref": _SCHEMA.format(name=name)}


# -- schemas ---------------------------------------------------------------------------------------


def _schemas() -> Json:
    told = [OrderEvent, *(kind for kind, _ in CHANGES.values())]
    kinds = [*EVENT_STRUCTS.values(), LedgerFields, Told, *told]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMA)
    for kind in EVENT_STRUCTS.values():
        amount = "delta" if kind is Adjustment else "quantity"
        schemas[kind.__name__]["oneOf"] = _one_or_many(amount)
    schemas["CloudEvent"] = _cloud_event()
    return dict(sorted(schemas.items()))


def _one_or_many(amount: str) -> list[Json]:
    """State that an event has either one SKU with its amount, or lines."""
    null: Json = {"type": "null"}
    return [
        {
            "required": ["sku", amount],
            "properties": {"sku": _TEXT, amount: {"type": "integer"}, "lines": null},
        },
        {
            "required": ["lines"],
            "properties": {"sku": null, amount: null, "lines": {"type": "array"}},
        },
    ]


def _cloud_event() -> Json:
    """Describe the envelope; exactly one of ``data`` and ``data_base64`` holds the event."""
    some = {"type": "string", "minLength": 1}
    return {
        "title": "CloudEvent",
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": some,
            "source": some,
            "type": some,
            "data": _any_event(EVENT_STRUCTS),
            "data_base64": some | {"contentEncoding": "base64"},
        },
        "required": ["specversion", "id", "source", "type"],
        "oneOf": [{"required": ["data"]}, {"required": ["data_base64"]}],
    }
