"""Pausing schedules: no tick makes a task from then on, nothing of it is made up for, and workers hear of its end."""

from datetime import UTC, datetime, timedelta

import pytest

from autotask.store import notify, pause, schedules
from autotask.store.connection import current, execute, rows
from autotask.store.schedules import Move
from tests.integration.store.shapes import count, new_task

pytestmark = pytest.mark.django_db(transaction=True)

TICK = datetime(2024, 7, 1, 12, tzinfo=UTC)
SPECS = {"tick": "every 60 s"}


@pytest.fixture(autouse=True)
def due():
    """A schedule that is due."""
    schedules.register(current(), [("tick", "tests.tick", SPECS["tick"], TICK)], abandoned=60)
    return schedules.look(current(), SPECS).due[0]


def advance(due):
    task = new_task(name="tests.tick", schedule="tick", scheduled_for=due.next_tick)
    move = Move(due, last_tick=due.next_tick, next_tick=due.next_tick + timedelta(seconds=60))
    return schedules.advance(current(), [move], [task])


def paused():
    ((at, by),) = rows(current(), "SELECT paused_at, paused_by FROM autotask_schedule")
    return at is not None, by


def test_a_paused_schedule_is_not_due_and_makes_no_task_even_for_who_has_seen_it_before(due):
    assert pause.pause(current(), "tick", "eve")
    assert paused() == (True, "eve")
    assert schedules.look(current(), SPECS).due == []
    assert advance(due) == (set(), 0)
    assert count("autotask_task") == 0


def test_a_resumed_schedule_is_due_again_and_says_since_when():
    # Given
    pause.pause(current(), "tick", "eve")
    before = schedules.now(current())

    # When
    assert pause.resume(current(), "tick")

    # Then
    assert paused() == (False, "")
    (due,) = schedules.look(current(), SPECS).due
    assert before <= due.resumed_at <= schedules.now(current())
    assert advance(due) == ({"tick"}, 1)


def test_who_paused_it_first_stays():
    assert pause.pause(current(), "tick", "eve")
    assert not pause.pause(current(), "tick", "adam")
    assert paused() == (True, "eve")


def test_what_is_not_paused_or_not_there_cannot_be_resumed():
    assert not pause.resume(current(), "tick")
    assert not pause.resume(current(), "other")
    assert not pause.pause(current(), "other", "eve")


def test_a_changed_timetable_stays_paused():
    pause.pause(current(), "tick", "eve")
    schedules.register(current(), [("tick", "tests.tick", "every 5 s", TICK)], abandoned=60)
    assert paused() == (True, "eve")
    assert schedules.look(current(), {"tick": "every 5 s"}).due == []


def test_a_pause_waits_for_the_tick_that_is_just_being_enqueued(due, transaction, in_background):
    # Given
    task = new_task(name="tests.tick", schedule="tick", scheduled_for=TICK)
    move = Move(due, last_tick=TICK, next_tick=TICK + timedelta(seconds=60))
    assert schedules.advance(transaction, [move], [task]) == ({"tick"}, 1)

    # When
    second = in_background(lambda connection: pause.pause(connection, "tick", "eve"))
    execute(transaction, "COMMIT")

    # Then
    assert second()
    assert count("autotask_task") == 1


def test_workers_hear_of_a_resumption(other_connection):
    # Given
    listener = notify.ChannelListener(other_connection, notify.SCHEDULES_CHANNEL)
    pause.pause(current(), "tick", "eve")
    assert not listener.heard()

    # When
    pause.resume(current(), "tick")

    # Then
    listener.wait(5)
    assert schedules.look(other_connection, SPECS).due
