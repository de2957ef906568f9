"""The runs of schedules, as people are shown them: live and ended, newest first."""

import time
from datetime import UTC, datetime

import pytest

from autotask.store import finish, pause, schedule_runs, schedules
from autotask.store.connection import current, execute
from autotask.task import State
from tests.integration.store.shapes import outcome, put, sign_on, take


def end_all(tasks):
    finish.end(current(), [outcome(task) for task in tasks], now=time.monotonic(), error_ttl=9.0)


pytestmark = pytest.mark.django_db

TICK = datetime(2024, 7, 1, 12, tzinfo=UTC)


def test_runs_are_those_that_wait_run_and_have_ended_newest_first():
    # Given
    (ended,) = put(schedule="a", scheduled_for=TICK)
    end_all(take(sign_on()))
    (running,) = put(schedule="a", scheduled_for=TICK)
    take(sign_on())
    (waiting,) = put(schedule="a")  # by hand
    put()
    put(schedule="b", scheduled_for=TICK)

    # When
    found = schedule_runs.runs(current(), "a")

    # Then
    assert [task.id for task in found] == [waiting, running, ended]
    assert [task.state for task in found] == [State.READY, State.RUNNING, State.DONE]
    assert [task.scheduled_for for task in found] == [None, TICK, TICK]
    assert [task.id for task in schedule_runs.runs(current(), "a", limit=2)] == [waiting, running]
    assert schedule_runs.runs(current(), "c") == []


def test_the_last_run_of_each_is_told_whatever_its_state():
    # Given
    put(schedule="a", scheduled_for=TICK)
    (last_of_a,) = put(schedule="a", scheduled_for=TICK)
    (only_of_b,) = put(schedule="b", scheduled_for=TICK)
    end_all(take(sign_on()))
    (live_of_b,) = put(schedule="b", scheduled_for=TICK)

    # When
    found = schedule_runs.last_runs(current(), ["a", "b", "c"])

    # Then
    assert {name: (task.id, task.state) for name, task in found.items()} == {
        "a": (last_of_a, State.DONE),
        "b": (live_of_b, State.READY),
    }


def test_schedules_are_told_with_all_that_people_want_to_know_of_them():
    # Given
    for name in ("b", "a"):
        schedules.register(current(), [(name, f"tests.{name}", "every 60 s", TICK)], abandoned=60)
    pause.pause(current(), "b", "eve")
    execute(
        current(), "UPDATE autotask_schedule SET held = %(held)s WHERE name = 'a'", {"held": schedules.as_held([TICK])}
    )

    # When
    first, second = schedule_runs.every(current())

    # Then
    assert (first.name, first.task, first.spec, first.next_tick) == ("a", "tests.a", "every 60 s", TICK)
    assert (first.held, first.last_tick, first.paused_at, first.paused_by) == ([TICK], None, None, "")
    assert (second.name, second.paused_by) == ("b", "eve")
    assert second.paused_at >= second.registered_at
