"""Dead letters on both event logs: written whole, listed newest first, sent again."""

import hashlib

import pytest

from onhand.errors import InvalidInput
from onhand.ingest.dead_letters import (
    KEPT_BYTES,
    dead_letter,
    find_dead_letter,
    list_dead_letters,
    resubmit,
)
from onhand.log.base import NewRecord, Record, record_bytes
from onhand.log.topics import DEAD_LETTERS
from onhand.model.batch import Reject
from onhand.model.codes import RejectCode
from onhand.model.envelope import forced_codes

SALES = "stock.sales"
REFUSED = Record(
    topic=SALES,
    partition=2,
    offset=17,
    append_us=1_790_000_000_000_000,
    key=b"\xff\x00",
    value=b'{"type":"sale"',
    headers=(("ce_type", b"sale"), ("ce_type", b"again")),
)
WHY = Reject(
    record=0,
    type=None,
    code=RejectCode.MALFORMED_JSON,
    pointer="/lines/0",
    detail="must be JSON: it ends too early",
)


def because(code):
    return Reject(record=0, type="sale", code=code, pointer="", detail="must be younger")


def refuse(log, *values, code=RejectCode.TOO_LATE):
    """Append events, refuse every one and return the dead letters, oldest first."""
    positions = log.append([NewRecord(SALES, value, b"key") for value in values])
    for topic, partition, offset in positions:
        record = log.read((topic, partition), offset, 1)[0]
        log.append([dead_letter(record, because(code))])
    return list(list_dead_letters(log))[: len(values)][::-1]


def test_letter_has_the_record_untouched_and_the_reason_beside_it():
    """Key, value and headers are the record's; reason and origin are headers of their own."""
    letter = dead_letter(REFUSED, WHY)
    assert (letter.topic, letter.key, letter.value) == (DEAD_LETTERS, REFUSED.key, REFUSED.value)
    assert letter.headers == (
        *REFUSED.headers,
        ("__connect.errors.topic", b"stock.sales"),
        ("__connect.errors.partition", b"2"),
        ("__connect.errors.offset", b"17"),
        ("__connect.errors.exception.message", b"must be JSON: it ends too early"),
        ("onhand.code", b"malformed_json"),
        ("onhand.pointer", b"/lines/0"),
        ("onhand.append_us", b"1790000000000000"),
    )


def test_letter_reads_back(event_log):
    """What is listed says all that was known when the record was refused."""
    event_log.append([dead_letter(REFUSED, WHY)])
    letter = next(iter(list_dead_letters(event_log)))
    assert (letter.topic, letter.origin_partition, letter.origin_offset) == (SALES, 2, 17)
    assert (letter.code, letter.pointer, letter.detail) == (WHY.code, WHY.pointer, WHY.detail)
    assert (letter.key, letter.value, letter.headers) == (
        REFUSED.key,
        REFUSED.value,
        REFUSED.headers,
    )
    assert letter.append_us == REFUSED.append_us
    assert (letter.size_bytes, letter.sha256) == (len(REFUSED.value), None)
    assert letter.resubmitted_us is None
    assert find_dead_letter(event_log, letter.name) == letter


def test_too_large_record_is_cut_with_its_size_and_hash(event_log):
    """A record larger than the topic takes leaves its first 64 KiB, its size and its SHA-256."""
    value = b"\xf0\x9f\x92\xa9" * (event_log.record_bytes_max(DEAD_LETTERS) // 4)
    refused = Record(SALES, 0, 1, 5, b"key", value, REFUSED.headers)
    letter = dead_letter(refused, WHY, event_log.record_bytes_max(DEAD_LETTERS))
    event_log.append([letter])
    found = next(iter(list_dead_letters(event_log)))
    assert (found.key, found.headers) == (b"key", REFUSED.headers)
    assert found.value == value[:KEPT_BYTES]
    assert found.size_bytes == len(value)
    assert found.sha256 == hashlib.sha256(value).hexdigest()
    with pytest.raises(InvalidInput, match="cannot be sent again"):
        resubmit(event_log, found)


@pytest.mark.parametrize(
    ("key", "headers"), [(b"k" * 2_000_000, ()), (b"k", (("h", b"x" * 2_000_000),))]
)
def test_letter_fits_whatever_its_key_and_headers(key, headers):
    """A record with an enormous key or header is told of too."""
    letter = dead_letter(Record(SALES, 0, 1, 5, key, b"v", headers), WHY, 200_000)
    assert record_bytes(letter) <= 200_000
    assert dict(letter.headers)["onhand.code"] == b"malformed_json"


def test_letters_are_listed_newest_first_by_code(event_log):
    """A list begins with the newest, and may be of some codes only."""
    refuse(event_log, b"1", b"2")
    refuse(event_log, b"3", code=RejectCode.BAD_TIME)
    assert [letter.value for letter in list_dead_letters(event_log)] == [b"3", b"2", b"1"]
    late = list_dead_letters(event_log, ["too_late"])
    assert [letter.value for letter in late] == [b"2", b"1"]
    assert list(list_dead_letters(event_log, ["bad_date"])) == []


def test_list_reads_only_as_far_as_it_is_asked(embedded_log):
    """The newest letters of very many come without reading the others."""
    embedded_log.append([dead_letter(REFUSED, WHY)] * 5_000)
    pages = []
    read = embedded_log.read
    embedded_log.read = lambda *page: pages.append(page) or read(*page)
    letters = list_dead_letters(embedded_log)
    assert [next(letters).offset for _ in range(600)] == list(range(4_999, 4_399, -1))
    assert len(pages) == 2


def test_resubmitted_record_is_as_it_was(event_log):
    """Sent again a record has its bytes, its key and its own headers, and nothing of the letter."""
    event_log.append([dead_letter(REFUSED, WHY)])
    letter = next(iter(list_dead_letters(event_log)))
    topic, partition, offset = resubmit(event_log, letter)
    again = event_log.read((topic, partition), offset, 1)[0]
    assert (again.topic, again.key, again.value) == (SALES, REFUSED.key, REFUSED.value)
    assert again.headers == REFUSED.headers


def test_resubmitted_letters_say_so(event_log):
    """Lists show which letters were sent again, or leave them out."""
    letters = refuse(event_log, b"1", b"2", b"3")
    resubmit(event_log, letters[1])
    found = {letter.value: letter for letter in list_dead_letters(event_log)}
    assert len(found) == 3
    assert found[b"2"].resubmitted_us >= found[b"2"].dead_us
    assert found[b"1"].resubmitted_us is found[b"3"].resubmitted_us is None
    left = list_dead_letters(event_log, resubmitted=False)
    assert [letter.value for letter in left] == [b"3", b"1"]


def test_forcing_names_the_rules_to_lift(event_log):
    """A forced record carries the codes that decoding lifts; an older force is replaced."""
    letter = refuse(event_log, b"1")[0]
    position = resubmit(event_log, letter, ["too_late", "count_too_old"])
    again = event_log.read(position[:2], position[2], 1)[0]
    assert forced_codes(again.headers) == {"too_late", "count_too_old"}
    event_log.append([dead_letter(again, because(RejectCode.CLOCK_AHEAD))])
    letter = next(iter(list_dead_letters(event_log)))
    position = resubmit(event_log, letter, ["clock_ahead"])
    again = event_log.read(position[:2], position[2], 1)[0]
    assert forced_codes(again.headers) == {"clock_ahead"}
    assert len(again.headers) == 1


@pytest.mark.parametrize("code", ["malformed_json", "ids_forgotten", "nonsense"])
def test_rules_that_cannot_be_lifted_are_refused(embedded_log, code):
    """Only rules of time can be forced; the message says which."""
    letter = refuse(embedded_log, b"1")[0]
    with pytest.raises(InvalidInput, match="clock_ahead, count_too_old, too_late"):
        resubmit(embedded_log, letter, ["too_late", code])
    assert embedded_log.end_offsets([(SALES, 0)]) == {(SALES, 0): 1}


@pytest.mark.parametrize("name", ["0:99", "99", "x", "", "0:-1", "0:x"])
def test_unknown_letter_is_told(embedded_log, name):
    """A name of no letter is refused with where names come from."""
    refuse(embedded_log, b"1")
    with pytest.raises(InvalidInput, match=r"no dead letter .* dead-letters list"):
        find_dead_letter(embedded_log, name)


def test_letters_of_other_tools_are_listed(embedded_log):
    """A dead letter with headers that are missing or strange is shown as far as it says."""
    strange = (("__connect.errors.partition", b"one"), ("onhand.size", b"-3"))
    embedded_log.append([NewRecord(DEAD_LETTERS, b"v", None, strange)])
    letter = next(iter(list_dead_letters(embedded_log)))
    assert (letter.topic, letter.origin_partition, letter.code) == ("", -1, "unknown")
    assert letter.size_bytes == 1
