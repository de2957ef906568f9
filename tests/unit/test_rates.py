"""Rates, limits and debounces: what can be written, and what cannot."""

import math
from datetime import timedelta

import pytest

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.tasks import Debounce, Limit, Rate

# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "interval", "capacity"),
    [
        ("1/s", 1.0, 1.0),
        ("5/s", 0.2, 1.0),
        ("200/s", 0.005, 40.0),
        ("100/m", 0.6, 1.0),
        ("1/10m", 600.0, 1.0),
        ("1/2s", 2.0, 1.0),
        ("3/h", 1200.0, 1.0),
        ("1/d", 86400.0, 1.0),
        ("1000000/s", 1e-6, 200_000.0),
    ],
)
def test_a_rate_is_a_count_and_a_time(rate, interval, capacity):
    made = Rate(rate)
    assert made.interval == pytest.approx(interval)
    assert made.capacity == pytest.approx(capacity)


def test_the_burst_is_the_capacity():
    assert Rate("100/m", burst=20).capacity == 20.0


@pytest.mark.parametrize(
    "rate",
    [
        "100/fortnight",
        "100",
        "",
        "/m",
        "100/",
        "m",
        "0.5/s",
        "-1/s",
        "100/min",
        "1/s ",
        " 1/s",
        "100 / m",
        "1/1.5s",
        "١/s",
    ],
)
def test_a_text_that_is_not_a_rate_is_refused_with_an_example(rate):
    with pytest.raises(InvalidOption) as caught:
        Rate(rate)
    assert str(caught.value) == (
        'The option \'rate\' of Rate() must be a rate such as "100/m" or "1/10m": COUNT/[N]UNIT, with whole numbers and '
        f"s, m, h or d as the unit, but is {rate!r}."
    )


@pytest.mark.parametrize("rate", ["0/s", "1/0m", "1000001/s", "1/9999999d"])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(InvalidOption, match="must be from 1 to 1000000 in at least a second and at most a century"):
        Rate(rate)


@pytest.mark.parametrize("rate", [None, 5, b"1/s", ("1/s",)])
def test_a_rate_that_is_no_text_is_refused(rate):
    with pytest.raises(InvalidOptionType, match=r"'rate' of Rate\(\) must be a rate such as"):
        Rate(rate)


@pytest.mark.parametrize("burst", [0, -1, 1_000_001])
def test_a_burst_out_of_range_is_refused(burst):
    with pytest.raises(InvalidOption, match=r"'burst' of Rate\(\) must be a whole number from 1 to 1000000"):
        Rate("1/s", burst=burst)


@pytest.mark.parametrize("burst", ["5", 5.0, True])
def test_a_burst_that_is_no_whole_number_is_refused(burst):
    with pytest.raises(InvalidOptionType, match=r"'burst' of Rate\(\) must be a whole number"):
        Rate("1/s", burst=burst)


@pytest.mark.parametrize("cost", [0, 0.5, 5, len])
def test_a_cost_is_a_number_up_to_the_burst_or_a_function(cost):
    assert Rate("1/s", burst=5, cost=cost).cost == cost


@pytest.mark.parametrize(("burst", "cost"), [(5, 5.5), (5, -1), (5, math.nan), (5, math.inf), (None, 2)])
def test_a_cost_above_the_burst_is_refused_where_it_is_written(burst, cost):
    with pytest.raises(
        InvalidOption, match=rf"'cost' of Rate\(\) must be from 0 to {burst or 1}, the burst .*, but is"
    ):
        Rate("1/s", burst=burst, cost=cost)


@pytest.mark.parametrize("cost", [None, "1", True])
def test_a_cost_that_is_no_number_is_refused(cost):
    with pytest.raises(InvalidOptionType, match=r"'cost' of Rate\(\) must be a number, or a function"):
        Rate("1/s", cost=cost)


def test_rates_can_be_compared():
    assert Rate("1/s", key=["a", "b"]) == Rate("1/s", key=("a", "b"))
    assert hash(Rate("1/s", key=["a"])) == hash(Rate("1/s", key=("a",)))
    assert Rate("1/s") != Rate("2/s")
    assert repr(Rate("1/s")) == "Rate(rate='1/s', burst=None, key=None, cost=1)"


# --- limits ---------------------------------------------------------------------------------------------------------


def test_a_limit_belongs_to_its_task_unless_it_has_a_name():
    assert Limit(2).base("shop.tasks.sync") == "shop.tasks.sync"
    assert Limit(2, name="openai").base("shop.tasks.sync") == "openai"
    assert Limit(name="openai").most is None


@pytest.mark.parametrize("most", [0, -1, 10_001])
def test_a_number_out_of_range_is_refused(most):
    with pytest.raises(InvalidOption, match=r"'most' of Limit\(\) must be a whole number from 1 to 10000"):
        Limit(most)


@pytest.mark.parametrize("most", [None, "2", 2.0, True])
def test_a_limit_needs_a_whole_number(most):
    with pytest.raises(
        InvalidOptionType, match=r"'most' of Limit\(\) must be a whole number, or left out if there is a name"
    ):
        Limit(most)


@pytest.mark.parametrize("name", ["", "*", "a b", "a(b)"])
def test_the_name_of_a_limit_is_plain(name):
    with pytest.raises(InvalidOption, match=r"'name' of Limit\(\) must be 1 to 200 letters"):
        Limit(1, name=name)


# --- debounces ------------------------------------------------------------------------------------------------------


def test_a_debounce_has_its_times_in_seconds():
    made = Debounce(timedelta(seconds=5), key=["a"], at_most=timedelta(minutes=1))
    assert (made.seconds, made.key, made.at_most, made.merge) == (5.0, ("a",), 60.0, None)
    assert made == Debounce(5, key=("a",), at_most=60)


@pytest.mark.parametrize(("seconds", "at_most"), [(-1, None), (math.nan, None), (5, 4), (5, math.inf)])
def test_times_out_of_range_are_refused(seconds, at_most):
    with pytest.raises(InvalidOption, match=r"of Debounce\(\) must be from \d seconds to a century"):
        Debounce(seconds, at_most=at_most)


@pytest.mark.parametrize(("seconds", "at_most"), [("5", None), (None, None), (True, None), (5, "60")])
def test_times_that_are_none_are_refused(seconds, at_most):
    with pytest.raises(InvalidOptionType, match=r"of Debounce\(\) must be a number of seconds or a timedelta"):
        Debounce(seconds, at_most=at_most)


def test_merge_is_a_function():
    assert Debounce(5, merge=max).merge is max
    with pytest.raises(InvalidOption, match=r"'merge' of Debounce\(\) must be a function of two dicts, or None"):
        Debounce(5, merge="last")


def test_a_bucket_that_takes_more_than_a_century_to_fill_is_refused():
    assert Rate("1/365d", burst=100).capacity == 100
    with pytest.raises(InvalidOption, match=r"'burst' of Rate\(\) must be so few tokens .* within a century"):
        Rate("1/365d", burst=1000)
