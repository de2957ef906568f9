"""What a task function may raise to say what is to become of its task."""

import math
import pickle
from datetime import timedelta

import pytest

from autotask import tasks
from autotask.control import Cancel, Control, Discard, RateLimited, Retry, Snooze
from autotask.exceptions import AutotaskError, InvalidOption, InvalidOptionType


@pytest.mark.parametrize("cls", [Retry, Snooze, RateLimited, Cancel, Discard])
def test_tasks_is_the_place_to_import_them_from(cls):
    assert getattr(tasks, cls.__name__) is cls
    assert issubclass(cls, Control)
    assert issubclass(cls, AutotaskError)


@pytest.mark.parametrize(
    ("given", "seconds"), [(60, 60.0), (0, 0.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (timedelta(0), 0.0)]
)
def test_times_are_seconds_or_timedeltas(given, seconds):
    assert Snooze(given).seconds == seconds
    assert Retry(delay=given).delay == seconds
    assert Retry(given).delay == seconds
    assert RateLimited(retry_after=given).retry_after == seconds


def test_a_retry_without_a_delay_leaves_it_to_the_task():
    assert Retry().delay is None


@pytest.mark.parametrize("make", [Snooze, Retry, RateLimited])
@pytest.mark.parametrize("time", [-1, math.nan, math.inf, timedelta(seconds=-1), 10**400])
def test_a_time_that_cannot_be_is_refused(make, time):
    with pytest.raises(InvalidOption, match=f"of {make.__name__}.. must be from 0 seconds to a century"):
        make(time)


@pytest.mark.parametrize("make", [Snooze, Retry, RateLimited])
@pytest.mark.parametrize("time", ["60", True, [60], b"1"])
def test_what_is_no_time_is_refused(make, time):
    with pytest.raises(InvalidOptionType, match=f"of {make.__name__}.. must be a number of seconds or a timedelta"):
        make(time)


def test_the_text_of_a_header_is_refused_with_what_to_write_instead():
    with pytest.raises(InvalidOptionType, match=r"use int\(\), but is '30' \(of type str\)"):
        RateLimited(retry_after="30")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Retry(), "the task asked for a retry"),
        (Retry(5, "their server is busy"), "their server is busy"),
        (Snooze(90), "the task asked to run again in 90 seconds"),
        (RateLimited(30), "the rate is exhausted for 30 seconds"),
        (Cancel("the order was paid"), "the order was paid"),
        (Cancel(), ""),
        (Discard("the user is gone"), "discarded: the user is gone"),
        (Discard(), "discarded"),
        (Cancel("100 % {sure}"), "100 % {sure}"),
    ],
    ids=repr,
)
def test_the_message_says_why(error, text):
    assert str(error) == text


@pytest.mark.parametrize(
    "error", [Retry(5, "busy"), Retry(), Snooze(90), RateLimited(30), Cancel("why"), Discard("why")], ids=repr
)
def test_they_survive_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.facts) == (type(error), str(error), error.facts)
