"""Ended tasks of which somebody is to be told: each has one delivery, and is kept until it is settled."""

import threading
import time

import pytest
from django.db import connections

from autotask import on_end
from autotask.on_end import NoticeState
from autotask.store import claim, ends, enqueue, finish, notices, prune, read, requeue
from autotask.store.connection import current, execute, rows
from autotask.store.notices import Delivery
from autotask.store.survey import Chore
from autotask.task import State, new_id
from autotask.worker.chores import Chores
from autotask.worker.notifier import Notifier
from tests.integration.held import pause
from tests.integration.store.shapes import new_task, outcome, put, sign_on, state, take

pytestmark = pytest.mark.django_db(transaction=True)

TO_ANNA = on_end.stored(["anna@example.org"], None)


def ended(number=1, state=State.DONE, **changes):
    """Return ids of tasks that have ended, and whose time to live is over."""
    put(number, **{"on_end": TO_ANNA, "ttl": 0.0, **changes})
    tasks = take(sign_on())
    finish.end(current(), [outcome(task, state) for task in tasks], now=time.monotonic(), error_ttl=0.0)
    return [task.id for task in tasks]


def deliver(found, connection=None):
    return notices.begin(connection or current(), [Delivery(each, new_task(name="tests.deliver")) for each in found])


def live():
    return [id for (id,) in rows(current(), "SELECT id FROM autotask_live WHERE name = 'tests.deliver'")]


def notices_of(id):
    task = read.task(current(), id)
    return on_end.notices(task.on_end, task.notices, task.state.status)


def test_only_ends_that_somebody_wants_to_know_are_found_those_that_ended_first_first():
    put(3)  # live
    put(1, on_end=TO_ANNA, delay=60)  # live
    take(sign_on())
    ended(on_end=None)
    first, second = ended(), ended(state=State.ERROR, queue="reports", priority=7)

    found = notices.find(current())

    assert [each.id for each in found] == [*first, *second]
    assert [(each.queue, each.priority, each.former) for each in found] == [("default", 0, None), ("reports", 7, None)]


def test_a_notifier_in_a_hurry_looks_at_the_last_ends_only():
    notifier = Notifier(Chores(Chore), lambda: None)
    assert notifier.run_once(current()) > 0
    (old,) = ended()
    execute(current(), "UPDATE autotask_result SET ended_at = ended_at - interval '10 min'")
    (new,) = ended()

    notifier.run_once(current())
    assert [each.id for each in notices.find(current())] == [old]
    assert notices.find(current(), lately=60) == []
    assert read.task(current(), new).notices is not None

    notifier._chores.add(Chore)
    notifier.run_once(current())
    assert notices.find(current()) == []


def test_the_first_look_of_a_notifier_is_at_the_last_ends_only_unless_a_survey_has_found_others():
    (old,) = ended()
    execute(current(), "UPDATE autotask_result SET ended_at = ended_at - interval '10 min'")
    ended()
    assert Notifier(Chores(), lambda: None).run_once(current()) > 0
    assert [each.id for each in notices.find(current())] == [old]


def test_a_delivery_that_no_worker_takes_for_a_week_is_given_up_unless_its_queue_is_paused():
    # Given
    (old,), (paused,), (fresh,) = ended(queue="gone"), ended(queue="paused"), ended()
    Notifier(Chores(Chore), lambda: None).run_once(current())
    pause("queue", "paused")
    for table in ("autotask_task", "autotask_ready"):
        execute(
            current(), f"UPDATE {table} SET ready_at = ready_at - interval '8 days' WHERE queue IN ('gone', 'paused')"
        )
    execute(current(), "UPDATE autotask_result SET ended_at = ended_at - interval '8 days'")

    # When
    notifier = Notifier(Chores(Chore), lambda: None)
    notifier.run_once(current())
    assert notices_of(old)[0].state is NoticeState.WAITING  # perhaps no worker has run for a week
    notifier._abandon_at = time.monotonic()
    notifier._chores.add(Chore)
    notifier.run_once(current())

    # Then
    (notice,) = notices_of(old)
    assert notice.state is NoticeState.GIVEN_UP
    assert notice.error == (
        "its delivery was cancelled: no worker has taken it for a week; does one serve the queue gone?"
    )
    assert [notices_of(id)[0].state for id in (paused, fresh)] == [NoticeState.WAITING] * 2


def test_a_delivery_is_in_the_queue_and_has_the_priority_of_the_task_and_no_second_one_is_made():
    ended(queue="reports", priority=7)
    found = notices.find(current())

    assert deliver(found) == 1
    assert notices.find(current()) == []
    assert deliver(found) == 0  # as another worker that has looked at the same time

    (id,) = live()
    task = read.task(current(), id)
    assert (task.queue, task.priority, task.state) == ("reports", 7, State.READY)


def test_a_row_that_another_worker_has_locked_is_left_to_it(other_connection):
    (id,) = ended()
    found = notices.find(current())
    execute(other_connection, "BEGIN")
    assert deliver(found, other_connection) == 1

    assert deliver(found) == 0

    execute(other_connection, "COMMIT")
    assert len(live()) == 1


def test_of_many_workers_one_makes_the_delivery():
    ended(20)
    barrier = threading.Barrier(4)

    def work():
        found = notices.find(current())
        barrier.wait()
        deliver(found)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    deliver(notices.find(current()))  # those that nobody got while others had them locked
    assert len(live()) == 20


def test_a_delivery_that_is_gone_is_replaced_and_one_that_has_failed_is_reported():
    ended()
    deliver(notices.find(current()))
    (first,) = live()
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": first})

    (untold,) = notices.find(current())
    assert (untold.former, untold.former_state) == (first, None)
    assert deliver([untold]) == 1

    (task,) = take(sign_on())
    finish.end(current(), [outcome(task, State.ERROR)], now=time.monotonic(), error_ttl=0.0)
    (untold,) = notices.find(current())
    assert (untold.former, untold.former_state) == (task.id, State.ERROR)


def test_only_the_present_delivery_notes_and_settles():
    (id,) = ended()
    deliver(notices.find(current()))
    (delivery,) = live()
    (notice,) = notices_of(id)
    sent = notice._replace(state=NoticeState.SENT, tries=1)

    notices.note(current(), id, new_id(), sent)
    notices.settle(current(), id, new_id())
    assert notices.read(current(), id, new_id()) is None
    assert notices_of(id) == [notice]

    assert notices.read(current(), id, delivery).id == id
    notices.note(current(), id, delivery, sent)
    assert notices_of(id) == [sent]
    notices.settle(current(), id, delivery)
    settled_at = read.task(current(), id).settled_at
    assert settled_at is not None
    notices.note(current(), id, delivery, notice)
    assert notices_of(id) == [sent]
    assert read.task(current(), id).settled_at == settled_at


def test_a_result_is_kept_until_it_is_settled():
    (id,), (other,) = ended(), ended(on_end=None)
    assert prune.prunable(current()) == 1

    prune.Pruning().piece(current())
    assert (state(id), state(other)) == (State.DONE, None)

    notices.settle(current(), id, None)
    assert prune.prunable(current()) == 1
    prune.Pruning().piece(current())
    assert state(id) is None


def test_what_was_given_up_is_kept_for_somebody_to_see():
    (id,) = ended()
    notices.settle(current(), id, None, [notices.given_up(*notices_of(id), "no reason")], keep=60)

    prune.Pruning().piece(current())

    assert notices_of(id)[0].error == "no reason"


def test_a_task_that_is_retried_keeps_whom_to_tell_and_forgets_what_was_sent():
    (id,) = ended(state=State.ERROR)
    notices.settle(current(), id, None, [notices.given_up(*notices_of(id), "no reason")])
    assert notices_of(id)[0].state is NoticeState.GIVEN_UP

    assert requeue.requeue(current(), id)
    assert notices_of(id)[0].state is NoticeState.PLANNED
    finish.end(current(), [outcome(*take(sign_on()))], now=time.monotonic(), error_ttl=0.0)

    (untold,) = notices.find(current())
    assert (untold.former, untold.notices[0].state) == (None, NoticeState.WAITING)


def test_calls_and_claims_have_no_word_of_it_and_an_end_only_moves_the_column():
    for statement in (enqueue.NOW, enqueue.CLAIMED, enqueue.NOW_UNLESS_TAKEN, claim.CLAIM, claim.LANES):
        assert "on_end" not in statement
    for statement in (ends.END, ends.END_ONE, ends.END_LAST, ends.END_HANDING_ON):
        statement = statement.replace("t.on_end", "", 1)  # as all columns of the row that is deleted
        assert statement.count("on_end") == 2  # in the list of columns and in that of values
        assert "notices" not in statement and "settled_at" not in statement
