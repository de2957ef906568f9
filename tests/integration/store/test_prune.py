"""Pruning: results past their time to live go in pieces, with their attempts."""

import os
import time

import pytest
from django.db import OperationalError

from autotask.store import finish, prune
from autotask.store.connection import current, dedicated, execute
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


@pytest.fixture
def other_session(transactional_db):
    """A connection whose settings are changed."""
    connection = dedicated("pruner")
    yield connection.wrapper
    connection.close()


def test_what_is_kept_stays_and_what_is_over_goes_with_its_attempts():
    # Given
    kept, over = ended(3), ended(4, over=1)
    live = put(2)
    assert count("autotask_attempt") == 7

    # When
    assert prune.prune(current()).results == 4

    # Then
    assert [state(id) for id in over] == [None] * 4
    assert [state(id) for id in kept] == [State.ERROR] * 3
    assert [state(id) for id in live] == [State.READY] * 2
    assert count("autotask_attempt") == 3
    assert prune.prune(current()).results == 0


def test_a_result_without_time_to_live_can_be_pruned_at_once():
    (id,) = ended(1, State.DONE, ttl=0.0)
    assert prune.prune(current()).results == 1
    assert state(id) is None


def test_no_more_than_a_batch_goes_the_longest_kept_first():
    ids = [ended(1, over=over)[0] for over in (10, 30, 20)]
    assert prune.prune(current(), limit=2).results == 2
    assert [state(id) is None for id in ids] == [False, True, True]


def test_results_can_be_kept_longer_than_their_time_to_live():
    ended(2, over=100)
    ended(3, over=10)
    assert prune.prunable(current(), longer=50) == 2
    assert prune.prune(current(), longer=50).results == 2
    assert prune.prunable(current()) == 3


def test_pruners_at_the_same_time_share_the_work(transaction):
    ended(10, over=1)
    assert prune.prune(transaction, limit=6).results == 6
    assert prune.prune(current()).results == 4
    execute(transaction, "COMMIT")
    assert (count("autotask_result"), count("autotask_attempt")) == (0, 0)


def test_many_batches_at_the_same_time_remove_each_result_once(in_threads):
    ended(100, over=1)

    def prune_all(connection, _):
        total = 0
        while number := prune.prune(connection, limit=7).results:
            total += number
        return total

    assert sum(in_threads(prune_all, times=3)) == 100


def test_the_attempts_of_live_tasks_stay():
    # Given a task that waits for another attempt
    put(1, retries=3)
    (task,) = take(worker := sign_on())
    finish.retry(current(), [outcome(task, State.RETRY)], now=time.monotonic())

    # When, then
    assert prune.prune(current()).results == 0
    assert count("autotask_attempt") == 1


# --- pieces ---------------------------------------------------------------------------------------------------------


def with_attempts(id, number, size=0):
    """Give a task that has ended so many attempts."""
    sql = """
        INSERT INTO autotask_attempt (task_id, number, fence, state, ended_at, traceback)
        SELECT %(id)s, i, -i, 6, now(), %(traceback)s
        FROM generate_series(1, %(number)s) AS i
    """
    execute(current(), sql, {"id": id, "number": number - 1, "traceback": os.urandom(size // 2).hex()})
    execute(
        current(), "UPDATE autotask_result SET attempt = %(number)s WHERE id = %(id)s", {"id": id, "number": number}
    )


def pieces(**limits):
    """Prune until there is nothing left, and return what each piece has deleted."""
    done = []
    while not done or done[-1].more:
        done.append(prune.prune(current(), **limits))
        assert len(done) < 100
    return done


def test_a_result_with_very_many_attempts_goes_in_pieces_and_holds_up_no_other():
    # Given: the one with many attempts is the one that should have gone first
    (many,) = ended(1, over=100)
    with_attempts(many, 2500)
    few = ended(10, over=1)

    # When, then: all others go at once
    first = prune.prune(current(), attempts=1000)
    assert (first.results, first.attempts, first.more) == (10, 1000, True)
    assert [state(id) for id in few] == [None] * 10

    # Then: until the last attempt is gone the result is what it was
    assert state(many) is State.ERROR
    assert count("autotask_attempt") == 2500 + 10 - 1000

    # When, then
    assert [(piece.results, piece.attempts) for piece in pieces(attempts=1000)] == [(0, 1000), (1, 510)]
    assert (count("autotask_result"), count("autotask_attempt")) == (0, 0)


def test_a_piece_is_as_many_attempts_as_it_may_be_at_most():
    ids = ended(9, over=1)
    for id in ids:
        with_attempts(id, 300)
    done = pieces(attempts=1000)
    assert max(piece.attempts for piece in done) <= 1000
    assert len(done) <= 4
    assert sum(piece.results for piece in done) == 9
    assert (count("autotask_result"), count("autotask_attempt")) == (0, 0)


def test_more_attempts_than_a_result_says_are_found_all_the_same():
    (id,) = ended(1, over=1)
    with_attempts(id, 50)
    execute(current(), "UPDATE autotask_result SET attempt = 1")
    assert [(piece.results, piece.attempts) for piece in pieces(attempts=20)] == [(0, 20), (0, 20), (1, 10)]


def test_a_piece_has_a_bounded_number_of_bytes_of_results():
    ids = ended(10, over=1)
    sql = "UPDATE autotask_result SET value = %(value)s WHERE id = ANY(%(ids)s)"
    execute(current(), sql, {"value": os.urandom(100_000), "ids": ids})
    assert [piece.results for piece in pieces(most_bytes=350_000)] == [4, 4, 2]


def test_a_piece_has_a_bounded_number_of_bytes_of_attempts():
    (id,) = ended(1, over=1)
    with_attempts(id, 10, size=100_000)
    done = pieces(most_bytes=350_000)
    assert len(done) > 2
    assert max(piece.attempts for piece in done) <= 8
    assert (count("autotask_result"), count("autotask_attempt")) == (0, 0)


def test_pieces_that_take_too_long_become_smaller(transaction, other_session):
    # Given: every statement takes too long
    ended(3, over=1)
    execute(transaction, "LOCK TABLE autotask_attempt IN EXCLUSIVE MODE")
    execute(other_session, "SET statement_timeout = '50ms'")
    pruning = prune.Pruning()

    # When, then: it is tried with pieces that are smaller and smaller, and in the end told
    for _ in range(7):
        assert pruning.piece(other_session) == (0, 0, True)
    with pytest.raises(OperationalError, match="statement timeout"):
        pruning.piece(other_session)

    # When
    execute(transaction, "ROLLBACK")
    execute(other_session, "SET statement_timeout = 0")

    # Then
    total = 0
    while (piece := pruning.piece(other_session)).more:
        total += piece.results
    assert total + piece.results == 3


def test_pieces_that_are_quick_become_as_large_as_they_may_be():
    ended(40, over=1)
    pruning = prune.Pruning()
    pruning._share = prune.SMALLEST
    numbers = []
    while (piece := pruning.piece(current())).more:
        numbers.append(piece.results)
    assert numbers[:2] == [7, 15] and sum(numbers) + piece.results == 40
