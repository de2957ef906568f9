"""Histograms with fixed bounds, and the quantiles in them."""

import random

import pytest

from autotask.statistics import BOUNDS, BUCKETS, Counts, bucket, padded, quantile, trimmed


def histogram(*durations):
    counts = [0] * BUCKETS
    for seconds in durations:
        counts[bucket(seconds)] += 1
    return counts


@pytest.mark.parametrize(
    ("seconds", "place"), [(-1.0, 0), (0.0, 0), (0.001, 0), (0.0011, 1), (1.0, 20), (16777.0, 48), (10**9, 49)]
)
def test_a_bucket_holds_durations_up_to_its_bound(seconds, place):
    assert bucket(seconds) == place


def test_an_empty_histogram_has_no_quantiles():
    assert quantile(histogram(), 0.5) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_a_quantile_is_wrong_by_the_width_of_a_bucket_at_most(share, spread):
    durations = sorted(random.Random(7).lognormvariate(0, spread) for _ in range(1000))
    true = durations[min(999, max(0, round(share * 1000) - 1))]
    estimated = quantile(histogram(*durations), share)
    assert true / 1.4143 <= estimated <= true * 1.4143


def test_durations_beyond_the_bounds_count_as_the_nearest_one():
    assert quantile(histogram(10**6, 10**7), 0.5) == BOUNDS[-1]
    assert 0 <= quantile(histogram(0.0, 0.0), 0.5) <= BOUNDS[0]


def test_empty_buckets_at_the_end_need_not_be_stored():
    whole = histogram(0.001, 0.5)
    assert len(trimmed(whole)) < BUCKETS
    assert padded(trimmed(whole)) == whole
    assert padded(None) == histogram()


def test_counts_are_added():
    one = Counts(started=2, succeeded=1, failed=1, waited=0.5, ran=3.0, waiting=histogram(0.5), running=histogram(1, 2))
    one.add(Counts(started=1, cancelled=1, lost=1, waiting=histogram(0.5)))
    assert (one.started, one.ended, one.lost) == (3, 3, 1)
    assert one.waiting == histogram(0.5, 0.5)
    assert one.running == histogram(1, 2)
