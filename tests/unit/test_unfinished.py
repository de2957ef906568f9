"""Which tasks of each claim are not over: the last ones take their claim with them."""

import uuid
from types import SimpleNamespace

import pytest

from autotask.store import claims
from autotask.worker.unfinished import Unfinished


def tasks_of(number, count):
    """Return tasks of one claim."""
    return [SimpleNamespace(id=uuid.uuid4(), fence=(number << claims.PLACE_BITS) + place) for place in range(count)]


@pytest.fixture
def unfinished():
    return Unfinished()


def test_a_claim_is_over_with_its_last_tasks(unfinished):
    first, second, third = tasks_of(7, 3)
    unfinished.add([first, second, third])
    assert unfinished.over([first]) == []
    assert unfinished.over([first, second, third]) == [7]
    unfinished.forget([first])
    assert unfinished.over([second]) == []
    assert unfinished.over([second, third]) == [7]


def test_of_several_claims_only_those_are_over_of_which_nothing_is_left(unfinished):
    seven, eight = tasks_of(7, 2), tasks_of(8, 1)
    unfinished.add(seven)
    unfinished.add(eight)
    assert unfinished.over([seven[0], *eight]) == [8]


def test_what_is_not_forgotten_is_not_over_however_often_it_is_asked(unfinished):
    # As with an outcome that is set aside: its end is not in the database.
    first, second = tasks_of(7, 2)
    unfinished.add([first, second])
    unfinished.over([first])
    assert unfinished.over([second]) == []
    unfinished.forget([second])
    assert unfinished.over([first]) == [7]


def test_an_outcome_that_is_recorded_twice_does_not_stand_for_another_one(unfinished):
    # As with one that was set aside, and was put again before it was its turn.
    first, second, third = tasks_of(7, 3)
    unfinished.add([first, second, third])
    assert unfinished.over([first, first, first]) == []
    unfinished.forget([first])
    unfinished.forget([first])
    assert unfinished.over([second]) == []
    assert unfinished.over([second, third]) == [7]


def test_tasks_of_a_claim_that_are_added_twice_are_counted_once(unfinished):
    tasks = tasks_of(7, 3)
    unfinished.add(tasks)
    unfinished.add(tasks[1:])
    assert unfinished.over(tasks) == [7]


def test_nothing_is_kept_of_claims_that_are_over(unfinished):
    tasks = tasks_of(7, 3)
    unfinished.add(tasks)
    unfinished.forget(tasks)
    assert len(unfinished) == 0
    unfinished.forget(tasks)
    assert len(unfinished) == 0


def test_of_a_claim_that_was_never_added_nothing_is_over(unfinished):
    assert unfinished.over(tasks_of(9, 1)) == []
