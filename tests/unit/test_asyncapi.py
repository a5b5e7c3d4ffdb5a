"""The published schema of the topics is that of the code, and whole."""

from pathlib import Path

import msgspec
import pytest

from onhand.asyncapi import (
    CLAIM_HEADERS,
    DEAD_LETTER_CUT_HEADERS,
    DEAD_LETTER_HEADERS,
    EXAMPLES,
    asyncapi_document,
    asyncapi_page,
)
from onhand.ingest import engine
from onhand.ingest.dead_letters import dead_letter
from onhand.log.base import Record
from onhand.log.topics import EVENT_TOPICS, ORDER_EVENTS, TOPICS
from onhand.model.batch import Reject
from onhand.model.codes import RejectCode
from onhand.model.events import EVENT_STRUCTS, LINE_COUNT_MAX, QUANTITY_MAX
from onhand.order_events import CHANGES
from tests.stock_events import poll, refused_as

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "asyncapi.json"
DOCUMENT = asyncapi_document()


def references(node):
    """List every reference in a document."""
    if isinstance(node, dict):
        for name, child in node.items():
            if name == "$ref":
                yield child
            else:
                yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(reference):
    node = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        node = node[name]
    return node


def test_page_is_current():
    """docs/reference/asyncapi.json is what `python -m onhand.docs asyncapi` prints."""
    assert PAGE.read_text(encoding="utf-8") == asyncapi_page()


def test_every_reference_leads_somewhere():
    """No reference is to another document, and each names something that is there."""
    found = set(references(DOCUMENT))
    assert found
    assert all(reference.startswith("#/") and resolve(reference) for reference in found)


def test_document_has_the_shape_that_asyncapi_3_asks_for():
    """The root, channels, operations and messages hold what the specification requires of them."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert all({"host", "protocol"} <= set(each) for each in DOCUMENT["servers"].values())
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert resolve(operation["channel"]["$ref"])["address"]
    for message in DOCUMENT["components"]["messages"].values():
        assert isinstance(message["payload"], dict)
        assert message.get("headers", {"type": "object"})["type"] == "object"


def test_every_topic_is_a_channel_with_an_operation():
    """Every topic that onhand creates is described, with its bounds, once."""
    assert list(DOCUMENT["channels"]) == [topic.name for topic in TOPICS]
    operated = [each["channel"]["$ref"] for each in DOCUMENT["operations"].values()]
    assert operated == [f"#/channels/{topic.name}" for topic in TOPICS]
    for topic in TOPICS:
        kafka = DOCUMENT["channels"][topic.name]["bindings"]["kafka"]
        assert kafka["topicConfiguration"]["max.message.bytes"] == topic.record_bytes_max
        assert kafka.get("partitions") == topic.partition_count


@pytest.mark.parametrize("topic", EVENT_TOPICS)
def test_every_event_type_is_a_message_of_every_stock_topic(topic):
    """Any type is accepted on any stock topic, and the document says so."""
    assert set(EVENT_STRUCTS) < set(DOCUMENT["channels"][topic]["messages"])


@pytest.mark.parametrize("example", EXAMPLES, ids=list(EVENT_STRUCTS))
def test_examples_are_accepted_events(example):
    """The judge accepts each example, which names the message it stands under."""
    assert isinstance(example, EVENT_STRUCTS[msgspec.to_builtins(example)["type"]])
    assert refused_as(msgspec.json.encode(example)) is None


def test_schemas_carry_the_bounds_of_the_types():
    """Bounds of quantities, lines and names are those that events are judged by."""
    schemas = DOCUMENT["components"]["schemas"]
    quantity = schemas["Line"]["properties"]["quantity"]
    assert (quantity["minimum"], quantity["maximum"]) == (1, QUANTITY_MAX)
    assert schemas["TotalLine"]["properties"]["quantity"]["minimum"] == 0
    lines = next(
        each
        for each in schemas["Sale"]["properties"]["lines"]["anyOf"]
        if each.get("type") == "array"
    )
    assert (lines["minItems"], lines["maxItems"]) == (1, LINE_COUNT_MAX)
    assert schemas["Sale"]["properties"]["type"]["enum"] == ["sale"]


def test_headers_of_dead_letters_are_those_written():
    """The document names the headers that a dead letter has, and those of one that was cut."""
    record = Record("stock.sales", 0, 7, 1, b"key", b"x" * 2_000_000, ())
    reject = Reject(record=0, type=None, code=RejectCode.TOO_LARGE, pointer="", detail="too large")
    cut = {name for name, _ in dead_letter(record, reject).headers}
    assert cut == set(DEAD_LETTER_HEADERS | DEAD_LETTER_CUT_HEADERS)
    whole = dead_letter(msgspec.structs.replace(record, value=b"{}"), reject)
    assert {name for name, _ in whole.headers} == set(DEAD_LETTER_HEADERS)


def test_every_change_of_an_order_is_a_message():
    """Each names its types and what their data is."""
    messages = DOCUMENT["channels"][ORDER_EVENTS]["messages"]
    assert set(messages) == {f"{thing}_changed" for thing in CHANGES}
    types = []
    for message in messages.values():
        _, narrowed = resolve(message["$ref"])["payload"]["allOf"]
        assert resolve(narrowed["properties"]["data"]["$ref"])["properties"]
        types += narrowed["properties"]["type"]["enum"]
    assert {"onhand.hold.placed", "onhand.order.fulfilled", "onhand.task.picked"} < set(types)
    assert len(types) == len(set(types))


def test_headers_of_claims_are_those_written():
    """The document names the headers that say where a claim came from."""
    record = Record("stock.sales", 0, 7, 1, b"key", b"{}", ())
    raw = poll([b"{}"])
    raw._whole = lambda _: record
    assert {name for name, _ in engine._claim(raw, 0).headers} == set(CLAIM_HEADERS)
