"""The index of answers against a plain dictionary."""

import hashlib
import random

import pytest

from onhand.ledger.answer_index import AnswerIndex, hashes_of
from onhand.ledger.rows import AnswerRow


def row(key, document=b""):
    return AnswerRow(key, b"", False, document, 0)


def key(number):
    return hashlib.sha256(b"%d" % number).digest()[:16]


def numbers_of(index, keys):
    known, numbers = index.find(keys)
    return set(known), set(numbers)


@pytest.mark.parametrize("base", [0, 7_000_000_000])
@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_found_where_it_was_written(base, seed):
    """Each key leads to itself or to the commit that wrote it, and strange keys to nothing."""
    draw = random.Random(seed)
    index = AnswerIndex(base, young_max=50)
    written = {}
    made = 0
    for number in range(base, base + 200):
        keys = [key(each) for each in range(made, made + draw.randrange(12))]
        made += len(keys)
        written.update(dict.fromkeys(keys, number))
        index.add(number, [row(each) for each in keys])
    assert len(index) == made
    for each, number in written.items():
        known, numbers = numbers_of(index, [each])
        assert known == {each} or number in numbers
    everything = set(written)
    known, numbers = numbers_of(index, list(everything))
    assert numbers >= {written[each] for each in everything - known}
    assert numbers_of(index, [key(-each) for each in range(1, 500)]) == (set(), set())


def test_loaded_index_is_the_one_that_grew():
    """An index loaded from the rows of commits finds what one does that saw them written."""
    commits = {number: [key(number * 10 + each) for each in range(10)] for number in range(5, 90)}
    loaded = AnswerIndex(5)
    loaded.load(list(commits), [hashes_of(keys) for keys in commits.values()])
    assert len(loaded) == 850
    for number, keys in commits.items():
        assert numbers_of(loaded, keys) == (set(), {number})


def test_forgotten_commits_are_let_go():
    """Answers of commits below the horizon are not found, and leave memory as runs merge."""
    index = AnswerIndex(young_max=10)
    for number in range(1, 201):
        index.add(number, [row(key(number * 10 + each)) for each in range(10)])
        index.forget(number - 20)
    assert len(index) < 1_000
    assert index.find([key(505)]) == ({}, [])
    assert index.find([key(1_905)]) == ({}, [190])


def test_long_answers_are_kept_whole_by_their_bytes():
    """However long documents are, what is kept of them is at most twice the bound."""
    index = AnswerIndex(young_bytes_max=1_000)
    for number in range(1, 23):
        index.add(number, [row(key(number), document=bytes(300))])
    known, numbers = index.find([key(each) for each in range(1, 23)])
    assert set(known) == {key(each) for each in range(17, 23)}
    assert numbers == list(range(1, 17))
    index.settle()
    assert index.find([key(22)]) == ({}, [22])


def test_numbers_may_outgrow_a_word():
    """When commits have run far ahead, the base follows what is still kept."""
    index = AnswerIndex(young_max=4)
    far = 1 << 30
    index.add(1, [row(key(each)) for each in range(4)])
    index.add(far - 5, [row(key(each)) for each in range(4, 7)])
    index.forget(far - 5)
    index.add(far + 5, [row(key(7)), row(key(8))])
    index.add(far + 6, [row(key(each)) for each in range(9, 20)])
    index.add(far + 7, [row(key(each)) for each in range(20, 30)])
    known, numbers = index.find([key(each) for each in range(30)])
    assert set(known) == {key(each) for each in range(20, 30)}
    assert numbers == [far - 5, far + 5, far + 6]


def test_keys_that_begin_alike_are_all_candidates():
    """Two keys with the same beginning lead to both commits."""
    index = AnswerIndex(young_max=1)
    for number, tail in ((1, b"a" * 8), (2, b"b" * 8), (3, b"c" * 8)):
        index.add(number, [row(b"samehash" + tail)])
    known, numbers = index.find([b"samehash" + b"z" * 8])
    assert (known, numbers) == ({}, [1, 2, 3])
