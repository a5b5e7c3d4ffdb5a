"""Buckets of requests: one second of a rate each, filled by the clock."""

import pytest

from onhand.web.limits import RateLimits
from onhand.web.problem import ProblemError


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def taken(limits, token, tries):
    """Count how many of so many tries pass."""
    passed = 0
    for _ in range(tries):
        try:
            limits.take(token)
        except ProblemError:
            continue
        passed += 1
    return passed


def test_a_second_of_requests_passes_at_once(clock):
    """A bucket begins full, and each token has its own."""
    limits = RateLimits(5, clock_s=clock)
    assert taken(limits, "a", 20) == 5
    assert taken(limits, "b", 20) == 5


def test_a_bucket_fills_with_time_up_to_a_second(clock):
    """Half a second makes half a rate, and an hour no more than one second."""
    limits = RateLimits(10, clock_s=clock)
    taken(limits, "a", 20)
    clock.now_s += 0.5
    assert taken(limits, "a", 20) == 5
    clock.now_s += 3_600
    assert taken(limits, "a", 20) == 10


@pytest.mark.parametrize(("per_s", "wait_s"), [(10, 1), (0.25, 4)])
def test_who_has_to_wait_is_told_how_long(clock, per_s, wait_s):
    """In whole seconds, after which the next request passes."""
    limits = RateLimits(per_s, clock_s=clock)
    taken(limits, "a", 100)
    with pytest.raises(ProblemError) as refused:
        limits.take("a")
    assert refused.value.code == "rate_limited"
    assert dict(refused.value.reply().headers)["retry-after"] == str(wait_s)
    clock.now_s += wait_s
    assert taken(limits, "a", 1) == 1


def test_no_limit_is_no_limit(clock):
    """0 lets everything pass."""
    assert taken(RateLimits(0, clock_s=clock), "a", 1_000) == 1_000
