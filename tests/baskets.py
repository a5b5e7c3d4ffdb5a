"""Baskets for tests of recommendations: made up, learnt from, and counted the slow way."""

import itertools
from collections import Counter

from onhand.recommendations.checkpoint import new_learnt
from onhand.recommendations.gathering import Sale
from onhand.recommendations.learner import Learner
from onhand.recommendations.ranking import Ranked
from onhand.recommendations.snapshot import NAME, write_snapshot
from onhand.settings import Settings

NOW_US = 1_760_000_000_000_000
DAY_US = 86_400_000_000


def settings(**fields):
    """Return settings under which nothing fades, or what the fields make of them."""
    return Settings(**({"recommendation_half_life": None} | fields))


def sales_of(baskets, occurred_us=NOW_US):
    """Return one sale for each basket, a second apart, none of which the other knows."""
    return [
        Sale(1_000 + number, occurred_us + number * 1_000_000, list(skus))
        for number, skus in enumerate(baskets)
    ]


def learner(sales=(), **fields):
    """Return a learner that has learnt from sales."""
    made = Learner(new_learnt(settings(**fields)))
    made.learn(sales)
    return made


def publish(directory, baskets, **fields):
    """Learn from baskets and publish what comes of it; answer the path of the snapshot."""
    made = learner(sales_of(baskets), **fields)
    ranked = Ranked(made.pairs)
    ranked.update()
    path = directory / NAME
    write_snapshot(path, made.pairs, ranked, created_us=NOW_US)
    return path


def counts_of(pairs):
    """Read how often items, and pairs of them, were bought: two dictionaries by name."""
    scale = pairs.scale()
    bought = {name: pairs.bought[number] * scale for name, number in pairs.numbers.items()}
    together = {}
    for name, number in pairs.numbers.items():
        row = zip(pairs.neighbours[number].tolist(), pairs.counts[number].tolist(), strict=True)
        for other, count in row:
            if count:
                together[name, pairs.names[other]] = count * scale
    return bought, together


def counted(baskets):
    """Count the same of whole baskets, each a collection of names."""
    bought, together = Counter(), Counter()
    for basket in baskets:
        bought.update(set(basket))
        together.update(itertools.permutations(sorted(set(basket)), 2))
    return dict(bought), dict(together)
