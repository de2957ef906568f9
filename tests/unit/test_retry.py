"""The arithmetic of second chances."""

import math
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from autotask.retry import JITTER, LONGEST_DELAY, delay_after, exponential

failures_ = st.integers(1, 10_000)
bases = st.floats(0, 1e9)
chances = st.floats(0, 1)


def after(backoff, failures=1, base=2.0, chance=0.5, exception=None):
    return delay_after(
        backoff, exception=exception or ValueError(), failures=failures, base=base, chance=lambda: chance
    )


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 2), (2, 4), (3, 8), (8, 256), (9, 512), (10, 600), (10_000, 600)]
)
def test_the_exponential_delay_doubles_up_to_ten_minutes(failures, seconds):
    assert exponential(failures, base=2) == seconds


@given(failures_, bases)
def test_the_exponential_delay_never_shrinks_and_never_exceeds_its_cap(failures, base):
    assert 0 <= exponential(failures, base) <= exponential(failures + 1, base) <= LONGEST_DELAY


@given(failures_, st.floats(0, 1.7e308))
def test_the_exponential_delay_is_finite_for_every_base(failures, base):
    assert math.isfinite(exponential(failures, base))


@given(failures_, bases, chances, st.sampled_from([None, "exponential"]))
def test_chance_moves_the_exponential_delay_by_a_tenth_at_most(failures, base, chance, backoff):
    middle = exponential(failures, base)
    assert middle * (1 - JITTER) * 0.999 <= after(backoff, failures, base, chance) <= middle * (1 + JITTER) * 1.001


def test_chance_reaches_both_ends():
    assert after(None, base=100, chance=0) == pytest.approx(90)
    assert after(None, base=100, chance=1) == pytest.approx(110)


def test_by_default_tasks_that_failed_together_do_not_come_back_together():
    delays = {delay_after(None, exception=ValueError(), failures=3, base=2.0) for _ in range(100)}
    assert len(delays) > 50


@given(st.lists(st.floats(0, 1e6), min_size=1), failures_)
def test_a_list_gives_one_delay_after_another_and_its_last_for_ever(delays, failures):
    for sequence in (delays, tuple(delays)):
        assert after(sequence, failures) == delays[min(failures, len(delays)) - 1]


@given(st.floats(0, 1e6), failures_)
def test_a_number_is_the_delay_each_time(seconds, failures):
    assert after(seconds, failures) == seconds


@given(failures_)
def test_a_function_is_given_the_exception_and_the_number_of_failures(failures):
    # Given
    seen = []
    error = KeyError("x")

    # When
    delay = after(lambda *given: seen.append(given) or 7, failures, exception=error)

    # Then
    assert delay == 7.0
    assert type(delay) is float
    assert seen == [(error, failures)]


def test_a_function_may_return_a_timedelta():
    assert after(lambda *_: timedelta(minutes=1)) == 60.0


@pytest.mark.parametrize("returned", [-1, -0.001, math.nan, -math.inf])
def test_a_function_that_returns_no_delay_is_refused_with_what_it_returned(returned):
    with pytest.raises(ValueError, match=f"0 or more seconds, but returned {returned!r}"):
        after(lambda *_: returned)


@pytest.mark.parametrize("returned", [None, "5", [1], math.inf, 1e300, 1j])
def test_a_function_that_returns_what_no_clock_can_add_is_refused(returned):
    with pytest.raises((ValueError, TypeError)):
        after(lambda *_: returned)
