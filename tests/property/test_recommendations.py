"""Whatever is sold in whatever parts and order, learning step by step equals counting it whole."""

import itertools
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onhand.recommendations.checkpoint import load_checkpoint, new_learnt, write_checkpoint
from onhand.recommendations.gathering import Sale
from onhand.recommendations.learner import Learner
from onhand.recommendations.ranking import COMMONNESS, PRIOR, Ranked
from tests.baskets import NOW_US, counted, counts_of, settings

SKUS = [f"sku-{number}" for number in range(12)]
HALF_LIFE = timedelta(days=30)

sales = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.integers(0, 400),
        st.lists(st.sampled_from(SKUS), min_size=1, max_size=6),
    ),
    max_size=40,
)
"""(basket, day, SKUs); all sales of a basket are of its own day, whatever is drawn."""


def as_sales(drawn):
    days = {}
    return [
        Sale(basket, NOW_US + days.setdefault(basket, day) * 86_400_000_000, skus)
        for basket, day, skus in drawn
    ]


def by_basket(made):
    baskets = {}
    for sale in made:
        baskets.setdefault(sale.key, set()).update(sale.skus)
    return list(baskets.values())


@given(drawn=sales, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_learning_in_parts_equals_counting_the_whole(drawn, cuts):
    """With nothing fading, counts are those of whole baskets, however polls cut the log."""
    made = as_sales(drawn)
    learner = Learner(new_learnt(settings()))
    edges = sorted({0, *(min(cut, len(made)) for cut in cuts), len(made)})
    for begin, end in itertools.pairwise(edges):
        learner.learn(made[begin:end])
    assert counts_of(learner.pairs) == counted(by_basket(made))


@given(drawn=sales, cut=st.integers(0, 40), repeated=st.integers(0, 5))
def test_a_restart_anywhere_changes_nothing(drawn, cut, repeated, tmp_path_factory):
    """From a checkpoint, and with some records read again, counts are as without the restart."""
    made = as_sales(drawn)
    fading = settings(recommendation_half_life=HALF_LIFE)
    whole = Learner(new_learnt(fading))
    whole.learn(made)
    learnt = new_learnt(fading)
    Learner(learnt).learn(made[:cut])
    path = tmp_path_factory.mktemp("restart") / "checkpoint"
    write_checkpoint(path, learnt, {}, log_identity="log")
    resumed = Learner(load_checkpoint(path, fading, log_identity="log"))
    resumed.learn(made[max(0, min(cut, len(made)) - repeated) :])
    assert counts_of(resumed.pairs) == counts_of(whole.pairs)


@given(drawn=sales, order=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(drawn, order):
    """Late sales weigh what they would have weighed in time."""
    made = as_sales(drawn)
    mixed = list(made)
    order.shuffle(mixed)
    fading = settings(recommendation_half_life=HALF_LIFE)
    found = []
    for each in (made, mixed):
        learner = Learner(new_learnt(fading))
        learner.learn(each)
        found.append(counts_of(learner.pairs))
    for one, other in zip(*found, strict=True):
        assert one.keys() == other.keys()
        names = list(one)
        assert np.allclose([one[name] for name in names], [other[name] for name in names])


@given(drawn=sales)
def test_neighbours_are_ranked_by_the_definition_of_the_score(drawn):
    """What is published equals the formula worked out pair by pair."""
    made = as_sales(drawn)
    learner = Learner(new_learnt(settings()))
    learner.learn(made)
    pairs, ranked = learner.pairs, Ranked(learner.pairs)
    ranked.update()
    bought, together = counted(by_basket(made))
    for name, number in pairs.numbers.items():
        expected = {
            other: count / (bought[name] + PRIOR) / (bought[other] + PRIOR) ** COMMONNESS
            for (item, other), count in together.items()
            if item == name
        }
        scores = ranked.scores[number]
        assert (np.diff(scores) <= 0).all()
        found = {
            pairs.names[other]: score
            for other, score in zip(
                ranked.neighbours[number].tolist(), scores.tolist(), strict=True
            )
            if score > 0
        }
        assert found.keys() == expected.keys()
        assert np.allclose([found[key] for key in expected], list(expected.values()))
