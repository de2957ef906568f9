"""Pruning: results past their time to live go in batches, with their attempts."""

import time

import pytest

from autotask.store import finish, prune
from autotask.store.connection import current, execute
from autotask.task import State
from tests.integration.store.shapes import count, outcome, put, sign_on, state, take

pytestmark = pytest.mark.django_db(transaction=True)


def ended(number, state=State.ERROR, over=None, **changes):
    """Return ids of tasks that have ended; their time to live is over by so many seconds."""
    put(number, **changes)
    tasks = take(sign_on())
    finish.end(current(), [outcome(task, state) for task in tasks], now=time.monotonic(), error_ttl=1000.0)
    ids = [task.id for task in tasks]
    if over is not None:
        execute(
            current(),
            "UPDATE autotask_result SET kept_until = clock_timestamp() - %(over)s * interval '1 s' WHERE id = ANY(%(ids)s)",
            {"over": over, "ids": ids},
        )
    return ids


def test_what_is_kept_stays_and_what_is_over_goes_with_its_attempts():
    # Given
    kept, over = ended(3), ended(4, over=1)
    live = put(2)
    assert count("autotask_attempt") == 7

    # When
    assert prune.prune(current()) == 4

    # Then
    assert [state(id) for id in over] == [None] * 4
    assert [state(id) for id in kept] == [State.ERROR] * 3
    assert [state(id) for id in live] == [State.READY] * 2
    assert count("autotask_attempt") == 3
    assert prune.prune(current()) == 0


def test_a_result_without_time_to_live_can_be_pruned_at_once():
    (id,) = ended(1, State.DONE, ttl=0.0)
    assert prune.prune(current()) == 1
    assert state(id) is None


def test_no_more_than_a_batch_goes_the_longest_kept_first():
    ids = [ended(1, over=over)[0] for over in (10, 30, 20)]
    assert prune.prune(current(), limit=2) == 2
    assert [state(id) is None for id in ids] == [False, True, True]


def test_results_can_be_kept_longer_than_their_time_to_live():
    ended(2, over=100)
    ended(3, over=10)
    assert prune.prunable(current(), longer=50) == 2
    assert prune.prune(current(), longer=50) == 2
    assert prune.prunable(current()) == 3


def test_pruners_at_the_same_time_share_the_work(transaction):
    ended(10, over=1)
    assert prune.prune(transaction, limit=6) == 6
    assert prune.prune(current()) == 4
    execute(transaction, "COMMIT")
    assert (count("autotask_result"), count("autotask_attempt")) == (0, 0)


def test_many_batches_at_the_same_time_remove_each_result_once(in_threads):
    ended(100, over=1)

    def prune_all(connection, _):
        total = 0
        while number := prune.prune(connection, limit=7):
            total += number
        return total

    assert sum(in_threads(prune_all, times=3)) == 100


def test_the_attempts_of_live_tasks_stay():
    # Given a task that waits for another attempt
    put(1, retries=3)
    (task,) = take(worker := sign_on())
    finish.retry(current(), [outcome(task, State.RETRY)], now=time.monotonic(), worker_id=worker)

    # When, then
    assert prune.prune(current()) == 0
    assert count("autotask_attempt") == 1
