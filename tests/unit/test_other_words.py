"""What people type first who know another task queue is answered with what to write here."""

import copy
import inspect

import pytest

from autotask.options import OPTION_NAMES
from autotask.other_words import OPTIONS
from autotask.tasks import cron_task, delayed_task, periodic_task


@delayed_task
def f() -> None:
    pass


@periodic_task(3600)
def tick() -> None:
    pass


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("delay", r"Here you write f\(…\)\."),
        ("send", r"Here you write f\(…\)\."),
        ("apply_async", r"Here you write f\(…\), or f\.using\(delay=60, queue=…\)\(…\) with options\."),
        ("delay_on_commit", r"The task exists if and only if your transaction commits\."),
        ("apply", r"f\.call\(…\), which runs the function here and now\."),
    ],
)
def test_the_words_of_other_task_queues_are_answered_with_those_of_this_one(attribute, words):
    with pytest.raises(AttributeError, match=words) as caught:
        getattr(f, attribute)
    assert caught.value.name == attribute
    with pytest.raises(AttributeError, match=r"Its schedule runs it; tick\.run_now\(\) does so now\."):
        getattr(tick, attribute)


def test_the_options_of_other_task_queues_are_named_as_here():
    known = {*inspect.signature(delayed_task).parameters, *inspect.signature(cron_task).parameters, *OPTION_NAMES}
    assert set(OPTIONS.values()) <= known
    assert not OPTIONS.keys() & known


def test_any_other_attribute_is_missing_as_usual():
    with pytest.raises(AttributeError, match=r"^'DelayedTask' object has no attribute 'nothing'$"):
        _ = f.nothing
    assert copy.copy(f).name == f.name
