"""Cancelling: at once what waits, by request what runs, and never what has ended."""

from datetime import timedelta

import pytest
from django.db import transaction as transactions
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.acts import tasks as acts
from autotask.store import cancel, requeue, statistics, workers
from autotask.store.cancel import Cancellation
from autotask.store.connection import current, execute, rows
from autotask.task import State, new_id
from tests.integration.store.shapes import count, put, sign_on, state, stored, take

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("delay", [0.0, 60.0], ids=["ready", "scheduled"])
def test_a_task_that_waits_is_cancelled_at_once_and_keeps_its_arguments(delay):
    (id,) = put(delay=delay, ttl=50.0)
    assert cancel.cancel(current(), id) is Cancellation.CANCELLED
    row = stored(id)
    assert (row.state, row.attempt, row.error_message, row.fence) == (State.CANCELLED, 0, "", None)
    assert (row.kept_until - row.ended_at).total_seconds() == pytest.approx(50, abs=1)
    assert rows(current(), "SELECT payload IS NOT NULL FROM autotask_result") == [(True,)]
    assert count("autotask_task") == 0


def test_a_task_that_runs_is_asked_to_stop_and_its_worker_is_told():
    # Given
    worker = sign_on()
    (id, _) = put(2)
    take(worker)

    # When
    assert cancel.cancel(current(), id) is Cancellation.REQUESTED
    assert cancel.cancel(current(), id) is Cancellation.REQUESTED

    # Then
    assert (stored(id).state, stored(id).cancel_requested) == (State.RUNNING, True)
    assert workers.to_be_cancelled(current(), worker) == [id]


def test_what_has_ended_or_is_not_there_cannot_be_cancelled():
    (id,) = put()
    cancel.cancel(current(), id)
    before = stored(id)
    assert cancel.cancel(current(), id) is Cancellation.TOO_LATE
    assert stored(id) == before
    assert cancel.cancel(current(), new_id()) is Cancellation.TOO_LATE


def test_a_cancellation_that_waits_for_a_claim_becomes_a_request(transaction, in_background):
    # Given
    worker = sign_on()
    (id,) = put()
    take(worker, connection=transaction)

    # When
    answer = in_background(lambda connection: cancel.cancel(connection, id))
    execute(transaction, "COMMIT")

    # Then
    assert answer() is Cancellation.REQUESTED
    assert (stored(id).state, stored(id).cancel_requested) == (State.RUNNING, True)


def test_a_claim_passes_over_what_is_just_being_cancelled(transaction):
    # Given
    worker = sign_on()
    (id,) = put()
    cancel.cancel(transaction, id)

    # When
    assert take(worker) == []
    execute(transaction, "COMMIT")

    # Then
    assert take(worker) == []
    assert state(id) is State.CANCELLED


def test_a_task_is_either_claimed_or_cancelled_never_both(in_threads):
    # Given
    worker = sign_on()
    ids = put(200)

    # When
    def race(connection, number):
        if number == 0:
            taken = []
            while found := take(worker, limit=3, connection=connection):
                taken += [task.id for task in found]
            return taken
        return [id for id in ids[::-1] if cancel.cancel(connection, id) is Cancellation.CANCELLED]

    first, second = in_threads(race, times=2)

    # Then
    assert sorted(first + second) == sorted(ids)
    assert count("autotask_result WHERE state = 5") + count("autotask_live WHERE state = 2") == 200


def test_a_cancellation_in_a_transaction_that_is_rolled_back_has_not_happened(transaction):
    (id,) = put()
    assert cancel.cancel(transaction, id) is Cancellation.CANCELLED
    execute(transaction, "ROLLBACK")
    assert state(id) is State.READY


# --- and back again -------------------------------------------------------------------------------------------------


def test_a_cancelled_task_can_be_put_back_under_its_id():
    # Given
    (id,) = put(queue="mail", priority=3, retries=2, delay=60, payload=b"\x00")
    before = stored(id)
    cancel.cancel(current(), id)

    # When
    assert requeue.requeue(current(), id) is True

    # Then
    row = stored(id)
    assert (row.state, row.queue, row.priority, row.retries) == (State.READY, "mail", 3, 2)
    assert (row.attempt, row.failures, row.lost, row.cancel_requested) == (0, 0, 0, False)
    assert row.created_at == before.created_at
    (task,) = take(sign_on())
    assert (task.id, task.payload) == (id, b"\x00")
    assert count("autotask_result") == 0


def test_a_task_is_put_back_once(in_threads):
    (id,) = put()
    cancel.cancel(current(), id)
    assert sorted(in_threads(lambda connection, _: requeue.requeue(connection, id), times=3)) == [False, False, True]
    assert count("autotask_task") == 1


def test_what_lives_or_is_not_there_cannot_be_put_back():
    (id,) = put()
    assert requeue.requeue(current(), id) is False
    assert requeue.requeue(current(), new_id()) is False


def test_what_has_lost_its_arguments_cannot_be_put_back():
    (id,) = put()
    cancel.cancel(current(), id)
    execute(current(), "UPDATE autotask_result SET payload = NULL")
    assert requeue.requeue(current(), id) is False
    assert state(id) is State.CANCELLED


def counted() -> dict[tuple[str, str], int]:
    """Return how many cancelled tasks the statistics have, by name and queue."""
    return {(of.name, of.queue): each.cancelled for of, each in statistics.totals(current(), by="both").items()}


def test_a_task_that_is_cancelled_while_it_waits_is_in_the_statistics():
    (id,) = put(queue="mail")
    cancel.cancel(current(), id)
    cancel.cancel(current(), id)
    assert counted() == {(stored(id).name, "mail"): 1}
    assert list(statistics.totals(current(), timezone.now() - timedelta(minutes=5)).values())[0].cancelled == 1


def test_tasks_that_are_cancelled_together_are_counted_with_one_statement():
    ids = [*put(3, queue="mail"), *put(2, queue="sms")]
    with CaptureQueriesContext(current()) as queries:
        acts.cancel(ids)
    name = stored(ids[0]).name
    assert counted() == {(name, "mail"): 3, (name, "sms"): 2}
    assert sum("INSERT INTO autotask_statistics" in query["sql"] for query in queries) == 1


def test_nothing_is_counted_where_counting_is_off(settings):
    settings.AUTOTASK_STATISTICS = False
    (id,) = put()
    assert cancel.cancel(current(), id) is Cancellation.CANCELLED
    assert counted() == {}


def test_a_cancellation_that_is_rolled_back_is_not_counted():
    (id,) = put()
    with pytest.raises(LookupError), transactions.atomic():
        cancel.cancel(current(), id)
        raise LookupError
    assert counted() == {}


def test_nothing_is_counted_in_a_transaction_that_django_does_not_know_about():
    (id,) = put()
    execute(current(), "BEGIN")
    try:
        assert cancel.cancel(current(), id) is Cancellation.CANCELLED
        changed = "SELECT FROM pg_settings WHERE name = 'synchronous_commit' AND setting <> reset_val"
        assert rows(current(), changed) == []
    finally:
        execute(current(), "COMMIT")
    assert counted() == {}


def test_a_request_to_stop_is_counted_when_the_worker_records_the_end():
    (id,) = put()
    take(sign_on())
    assert cancel.cancel(current(), id) is Cancellation.REQUESTED
    assert counted() == {}
