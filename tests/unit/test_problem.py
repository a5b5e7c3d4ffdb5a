"""Problems: what a caller sees of each failure, and what stays in the log."""

import msgspec
import pytest

from onhand import errors
from onhand.errors import FieldError, InvalidInput
from onhand.orders.refusal import CODES
from onhand.web.problem import (
    KINDS,
    MEDIA_TYPE,
    TYPE_PREFIX,
    ProblemCode,
    ProblemError,
    decode_json,
    invalid_parameter,
    problem_of,
    refusal_reply,
)
from onhand.writer.answer import CONFLICT, FAILURES


def test_every_code_has_words_and_a_status():
    """The list is whole, in the order of the codes, and only of failures."""
    assert list(KINDS) == list(ProblemCode)
    for kind in KINDS.values():
        assert 400 <= kind.status < 600
        assert kind.title
        assert kind.meaning.endswith(".")


def test_statuses_rise_along_the_list():
    """The published list is in order of status."""
    statuses = [kind.status for kind in KINDS.values()]
    assert statuses == sorted(statuses)


@pytest.mark.parametrize("code", ProblemCode)
def test_a_problem_is_written_as_rfc_9457_asks(code):
    """Type, title, status and detail, with the code; Retry-After where trying again helps."""
    reply = ProblemError(code, "It happened.").reply()
    body = msgspec.json.decode(reply.body)
    assert body == {
        "type": TYPE_PREFIX + code,
        "title": KINDS[code].title,
        "status": KINDS[code].status,
        "detail": "It happened.",
        "code": code,
    }
    headers = dict(reply.headers)
    assert headers["content-type"] == MEDIA_TYPE
    assert ("retry-after" in headers) == (reply.status in {429, 503})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LogUnavailable("No broker", "Start it"), "log_unavailable"),
        (errors.LogFull("No room", "Free some"), "log_full"),
        (errors.RecordTooLarge("Too large", "Send less"), "body_too_large"),
        (errors.LedgerUnavailable("No database", "Start it"), "ledger_unavailable"),
        (errors.TableUnavailable("No table", "Wait"), "supply_unavailable"),
        (ProblemError(ProblemCode.UNKNOWN_SKU, "x"), "unknown_sku"),
        (InvalidInput("Wrong", (FieldError("/a", "must be b"),)), "invalid_request"),
        (RuntimeError("secret detail"), "internal_error"),
        (errors.CheckpointInvalid("secret detail"), "internal_error"),
    ],
)
def test_each_failure_has_its_problem(error, code):
    """What was foreseen says what to do; what was not shows nothing of the inside."""
    problem = problem_of(error)
    assert problem.code == code
    assert "secret" not in problem.detail


def test_every_refusal_of_the_order_layer_is_a_published_code():
    """Whatever the writer says has a status and words, and none of them is a fault of ours."""
    for code in (*CODES, *FAILURES, CONFLICT):
        assert ProblemCode(code) in KINDS
    assert {KINDS[ProblemCode(code)].status for code in FAILURES} == {500, 503}
    assert all(KINDS[ProblemCode(code)].status < 500 for code in set(CODES) - set(FAILURES))


def test_a_refusal_is_written_as_a_problem():
    """What it says stays, its errors only where there are any."""
    document = {"code": "hold_expired", "detail": "It has.", "errors": [], "more": [1]}
    reply = refusal_reply(msgspec.json.encode(document))
    assert (reply.status, dict(reply.headers)) == (409, {"content-type": MEDIA_TYPE})
    assert msgspec.json.decode(reply.body) == {
        "type": f"{TYPE_PREFIX}hold_expired",
        "title": KINDS[ProblemCode.HOLD_EXPIRED].title,
        "status": 409,
        "code": "hold_expired",
        "detail": "It has.",
        "more": [1],
    }
    errors = [{"pointer": "/lines/0", "detail": 'says ,"errors":[] itself'}]
    reply = refusal_reply(msgspec.json.encode(document | {"errors": errors}))
    assert msgspec.json.decode(reply.body)["errors"] == errors
    stale = refusal_reply(b'{"code":"supply_stale","detail":"x","errors":[]}')
    assert dict(stale.headers)["retry-after"] == "1"


def test_fields_at_fault_are_listed():
    """Errors are pointers with their rules."""
    problem = problem_of(InvalidInput("Wrong", (FieldError("/a/0", "must be b"),)))
    body = msgspec.json.decode(problem.reply().body)
    assert body["errors"] == [{"pointer": "/a/0", "detail": "must be b"}]
    body = msgspec.json.decode(invalid_parameter("limit", "must be 1").reply().body)
    assert body["errors"] == [{"pointer": "/limit", "detail": "must be 1"}]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\xff"', b"[" * 100_000, b"{} {}"])
def test_whatever_is_no_json_is_one_problem(body):
    """Torn, empty, not UTF-8, nested without end, two in one."""
    with pytest.raises(ProblemError) as raised:
        decode_json(body)
    assert raised.value.code == "malformed_json"
