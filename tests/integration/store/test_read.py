"""Reading: every task is seen exactly once, wherever it is, and nothing is read that is not needed."""

import time

import pytest

from autotask.store import cancel, finish, notify, read, tally
from autotask.store.connection import current, execute, rows
from autotask.task import State, new_id
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import edit, outcome, put, sign_on, stored, take

pytestmark = pytest.mark.django_db(transaction=True)


def end(*tasks, state=State.DONE, connection=None):
    outcomes = [outcome(task, state) for task in tasks]
    return finish.end(connection or current(), outcomes, now=time.monotonic(), error_ttl=1000.0)


def test_what_is_not_there_is_none():
    assert stored(new_id()) is None


def test_a_task_is_seen_once_at_every_moment_of_its_life(in_threads):
    # Given
    ids = put(40)
    worker = sign_on()

    # When one runs them while the other looks at them
    def run(connection, number):
        if number == 0:
            while tasks := take(worker, limit=2, connection=connection):
                end(*tasks, connection=connection)
            return set()
        return {len(rows(connection, read.TASK, {"id": id})) for _ in range(10) for id in ids}

    seen = set.union(*in_threads(run, times=2))

    # Then
    assert seen == {1}


def test_the_newest_come_first_from_both_tables():
    # Given
    ids = sorted(put()[0] for _ in range(6))
    worker = sign_on()
    end(*take(worker, limit=3))

    # When, then
    assert [task.id for task in read.newest(current(), limit=10)] == ids[::-1]
    assert [task.id for task in read.newest(current(), limit=4)] == ids[::-1][:4]


def test_tasks_are_found_by_state_queue_and_name():
    # Given
    (mail,) = put(queue="mail")
    (other,) = put(name="tests.other")
    (later,) = put(delay=60)
    (gone,) = put()
    cancel.cancel(current(), gone)

    # When, then
    def found(**conditions):
        return {task.id for task in read.newest(current(), **conditions)}

    assert found() == {mail, other, later, gone}
    assert found(queue="mail") == {mail}
    assert found(name="tests.other") == {other}
    assert found(states=[State.SCHEDULED]) == {later}
    assert found(states=[State.SCHEDULED, State.CANCELLED]) == {later, gone}
    assert found(queue="mail", states=[State.CANCELLED]) == set()
    assert found(queue="x'; DROP TABLE autotask_task; --") == set()


def test_a_queue_is_counted_by_state_with_the_age_of_its_oldest():
    # Given
    put(3, queue="a")
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '60 s'")
    put(2, queue="b")
    take(sign_on(), limit=1, lanes=[])
    put(4, queue="a", delay=60)
    take(sign_on(), limit=5, per_lane=1)

    # When
    counts = {each.queue: each for each in tally.counts(current())}

    # Then
    assert (counts["a"].scheduled, counts["a"].ready, counts["a"].running) == (4, 2, 1)
    assert (counts["b"].scheduled, counts["b"].ready, counts["b"].running) == (0, 1, 1)
    assert counts["a"].oldest == pytest.approx(60, abs=20)
    assert counts["b"].oldest < 20


def test_what_has_ended_lately_is_counted_by_state():
    worker = sign_on()
    put(5)
    tasks = take(worker)
    end(*tasks[:3])
    end(*tasks[3:], state=State.ERROR)
    execute(
        current(),
        "UPDATE autotask_result SET ended_at = ended_at - interval '1 hour' WHERE id = %(id)s",
        {"id": tasks[0].id},
    )
    assert tally.ended_lately(current(), 60.0) == {State.DONE: 2, State.ERROR: 2}
    assert tally.ended_lately(current(), 60.0, newest=3) == {State.DONE: 1, State.ERROR: 2}


# --- being told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "cancel"])
def test_who_waits_for_a_task_is_told_of_its_end(other_connection, how):
    # Given
    (id,) = put()
    listener = notify.ChannelListener(other_connection, notify.ended_channel(id))
    read.ask_to_be_told(current(), id)

    # When
    if how == "end":
        end(*take(sign_on()))
    else:
        cancel.cancel(current(), id)

    # Then
    listener.wait(patient(20.0))
    assert listener.has_heard


def test_what_is_heard_with_the_answer_to_another_statement_is_not_missed(other_connection):
    # Given
    listener = notify.ChannelListener(other_connection, "autotask_test")

    # When: the server sends both together, and nothing more is to come on the socket
    execute(other_connection, "NOTIFY autotask_test")

    # Then
    assert listener.heard() is True
    assert listener.heard() is False


def test_nobody_is_told_of_a_task_that_nobody_waits_for(other_connection):
    # Given
    awaited, other = put(2)
    for id in (awaited, other):
        execute(other_connection, f"LISTEN {notify.ended_channel(id)}")
    read.ask_to_be_told(current(), awaited)

    # When
    end(*take(sign_on()))

    # Then
    heard = set()
    wait_until(lambda: heard.update(channels_heard(other_connection)) or heard, what="a notification")
    rows(other_connection, "SELECT 1")  # Whatever else has been told has arrived before the answer to this.
    assert heard.union(channels_heard(other_connection)) == {notify.ended_channel(awaited)}


def channels_heard(connection):
    """Return the channels of what a connection has heard by now."""
    raw = connection.connection
    if hasattr(raw, "poll"):
        raw.poll()
        return [each.channel for each in raw.notifies]
    return [each.channel for each in raw.notifies(timeout=0)]


def test_a_flood_of_wake_ups_is_one_in_a_tenth_of_a_second(monkeypatch, other_connection):
    # Given
    clock = time.monotonic() + 100
    monkeypatch.setattr(notify.time, "monotonic", lambda: clock)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    execute(other_connection, f"LISTEN {notify.WORK_CHANNEL}")

    # When
    for _ in range(50):
        notify.send(current())
    clock += 1.01 * notify.NOTIFY_INTERVAL
    for _ in range(50):
        notify.send(current())

    # Then
    rows(other_connection, "SELECT 1")  # Whatever has been told has arrived before the answer to this.
    assert channels_heard(other_connection) == [notify.WORK_CHANNEL] * 2
