"""Promotion: what is due becomes ready, and the future is not touched."""

import pytest

from autotask.store import promote
from autotask.store.connection import current, execute, rows
from autotask.task import State
from tests.integration.store.shapes import count, put, state

pytestmark = pytest.mark.django_db(transaction=True)


def make_due(ids, seconds=1.0):
    """Let the moment of tasks have come so many seconds ago."""
    execute(
        current(),
        "UPDATE autotask_task SET run_at = clock_timestamp() - %(seconds)s * interval '1 s' WHERE id = ANY(%(ids)s)",
        {"seconds": seconds, "ids": list(ids)},
    )


def test_where_nothing_is_scheduled_there_is_nothing_to_do():
    put(3)
    assert promote.promote(current()) == (0, None)


def test_what_is_due_becomes_ready_and_the_rest_waits():
    # Given
    due, future = put(3, delay=60), put(3, delay=60)
    make_due(due)

    # When
    number, seconds = promote.promote(current())

    # Then
    assert number == 3
    assert 30 < seconds <= 60
    assert [state(id) for id in due + future] == [State.READY] * 3 + [State.SCHEDULED] * 3


def test_a_promoted_task_is_as_old_as_its_promotion_so_that_no_lower_bound_hides_it():
    (id,) = put(delay=60)
    make_due([id], seconds=3600)
    promote.promote(current())
    assert state(id) is State.READY
    assert rows(current(), "SELECT clock_timestamp() - ready_at < interval '60 s' FROM autotask_live") == [(True,)]


def test_no_more_than_asked_for_become_ready_the_longest_overdue_first():
    ids = put(6, delay=60)
    for seconds, id in enumerate(ids, 1):
        make_due([id], seconds)
    assert promote.promote(current(), limit=2)[0] == 2
    assert {id for id in ids if state(id) is State.READY} == set(ids[-2:])


def test_what_becomes_due_is_passed_over_when_another_is_just_making_it_ready(transaction):
    make_due(put(5, delay=60))
    assert promote.promote(transaction, limit=3)[0] == 3
    assert promote.promote(current())[0] == 2
    execute(transaction, "COMMIT")
    assert promote.promote(current()) == (0, None)


def test_promotions_at_the_same_time_make_each_task_ready_once(in_threads):
    make_due(put(200, delay=60))

    def promote_all(connection, _):
        total = 0
        while number := promote.promote(connection, limit=9)[0]:
            total += number
        return total

    assert sum(in_threads(promote_all, times=3)) == 200
    assert count("autotask_live WHERE state = 1") == 200
