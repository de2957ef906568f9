"""Schedules: each tick is enqueued exactly once, whoever asks and however often."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from autotask.store import schedules
from autotask.store.connection import current, execute, rows
from autotask.store.schedules import Move
from tests.integration.store.shapes import count, new_task, put, stored

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
EVERY = "every 60 s"
MINUTE = timedelta(minutes=1)


def register(name="tick", spec="every 60 s", tick=NOON, task="tests.tick"):
    schedules.register(current(), [(name, task, spec, tick)])


def tick_of(move):
    return new_task(name="tests.tick", schedule=move.name, scheduled_for=move.last_tick)


def move(name="tick", seen=NOON, by=MINUTE):
    return Move(name, seen=seen, last_tick=seen, next_tick=seen + by)


def next_ticks():
    found = rows(current(), "SELECT name, next_tick FROM autotask_schedule")
    return {name: moment.astimezone(UTC) for name, moment in found}


# --- the register ---------------------------------------------------------------------------------------------------


def test_a_schedule_that_stays_as_it_is_keeps_its_next_tick():
    register()
    register(tick=NOON + timedelta(days=1))
    assert next_ticks() == {"tick": NOON}


def test_a_schedule_that_changes_starts_anew():
    register()
    register(spec="every 90 s", tick=NOON + timedelta(days=1))
    assert next_ticks() == {"tick": NOON + timedelta(days=1)}


def test_several_are_registered_at_the_same_time_by_several_workers(in_threads):
    names = [f"tick{number}" for number in range(20)]

    def register_all(connection, number):
        ordered = names if number % 2 else names[::-1]
        schedules.register(connection, [(name, "tests.tick", "every 60 s", NOON) for name in ordered])

    in_threads(register_all, times=4)
    assert next_ticks() == dict.fromkeys(names, NOON)


def test_no_schedule_at_all_is_no_error():
    schedules.register(current(), [])
    assert schedules.due(current(), {}) == []
    assert schedules.seconds_to_next(current(), {}) is None
    assert schedules.advance(current(), [], []) == set()


def test_only_what_is_due_and_declared_alike_is_found():
    # Given
    now = schedules.now(current())
    register("due", tick=now - MINUTE)
    register("later", tick=now + MINUTE)
    register("other version", spec="every 90 s", tick=now - MINUTE)
    register("of others", tick=now - MINUTE)

    # When
    found = schedules.due(current(), {"due": "every 60 s", "later": "every 60 s", "other version": "every 60 s"})

    # Then
    assert [schedule.name for schedule in found] == ["due"]
    assert (found[0].task, found[0].spec, found[0].last_tick) == ("tests.tick", "every 60 s", None)
    assert found[0].next_tick == now - MINUTE
    assert now < found[0].now < now + MINUTE


def test_the_longest_overdue_comes_first_and_no_more_than_asked_for():
    now = schedules.now(current())
    for minutes in (1, 3, 2):
        register(f"{minutes}", tick=now - minutes * MINUTE)
    found = schedules.due(current(), dict.fromkeys("123", "every 60 s"), limit=2)
    assert [schedule.name for schedule in found] == ["3", "2"]


def test_the_seconds_to_the_next_tick_may_be_over():
    now = schedules.now(current())
    register("a", tick=now + MINUTE)
    assert schedules.seconds_to_next(current(), {"a": EVERY}) == pytest.approx(60, abs=5)
    register("b", tick=now - MINUTE)
    assert schedules.seconds_to_next(current(), {"a": EVERY, "b": EVERY}) == pytest.approx(-60, abs=5)
    assert schedules.seconds_to_next(current(), {"c": EVERY}) is None


def test_a_schedule_that_nobody_declares_any_more_is_retired():
    register("old")
    register("young")
    execute(current(), "UPDATE autotask_schedule SET declared_at = declared_at - interval '2 days' WHERE name = 'old'")
    assert schedules.retire(current(), 86400.0) == 1
    assert set(next_ticks()) == {"young"}


def test_a_declaration_keeps_a_schedule():
    register()
    execute(current(), "UPDATE autotask_schedule SET declared_at = declared_at - interval '2 days'")
    schedules.declare(current(), {"tick": EVERY, "unknown": EVERY})
    assert schedules.retire(current(), 86400.0) == 0


def test_a_tick_of_another_timetable_is_not_waited_for():
    now = schedules.now(current())
    register("a", tick=now - MINUTE)
    assert schedules.seconds_to_next(current(), {"a": "every 5 s"}) is None


def test_a_timetable_that_somebody_has_declared_lately_is_not_replaced_and_one_of_nobody_is():
    # Given
    register("a", tick=NOON)
    newer = [("a", "tests.tick", "every 5 s", NOON)]

    # When
    schedules.register(current(), newer, unless_declared=900)

    # Then
    assert schedules.due(current(), {"a": "every 5 s"}) == []

    # When
    execute(current(), "UPDATE autotask_schedule SET declared_at = declared_at - interval '1 hour'")
    schedules.register(current(), newer, unless_declared=900)

    # Then
    assert [schedule.name for schedule in schedules.due(current(), {"a": "every 5 s"})] == ["a"]


def test_moments_are_exact_where_local_times_mean_two(settings):
    # Given: New York in the hour that is repeated when summer time ends, without time zones in Django
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    connections["default"].close()
    second_half_past_one = datetime(2024, 11, 3, 6, 30, tzinfo=UTC)
    register("a", tick=second_half_past_one)

    # Then
    (due,) = schedules.due(current(), {"a": EVERY})
    assert due.next_tick == second_half_past_one
    connections["default"].close()


# --- ticks ----------------------------------------------------------------------------------------------------------


def test_a_tick_moves_the_schedule_and_enqueues_its_task_in_one_statement():
    # Given
    register()
    task = tick_of(move())

    # When
    assert schedules.advance(current(), [move()], [task]) == {"tick"}

    # Then
    assert next_ticks() == {"tick": NOON + MINUTE}
    row = stored(task.id)
    assert (row.name, row.state) == ("tests.tick", 1)
    ((schedule, tick),) = rows(current(), "SELECT schedule, scheduled_for FROM autotask_task")
    assert (schedule, tick.astimezone(UTC)) == ("tick", NOON)


def test_a_tick_is_enqueued_once():
    register()
    assert schedules.advance(current(), [move()], [tick_of(move())]) == {"tick"}
    assert schedules.advance(current(), [move()], [tick_of(move())]) == set()
    assert count("autotask_task") == 1


def test_a_schedule_can_move_without_a_task():
    register()
    assert schedules.advance(current(), [move()], []) == {"tick"}
    assert next_ticks() == {"tick": NOON + MINUTE}


def test_a_task_without_its_schedule_moving_is_not_enqueued():
    register()
    assert schedules.advance(current(), [], [tick_of(move())]) == set()
    assert count("autotask_task") == 0


def test_of_several_only_those_that_nobody_else_has_moved_are_enqueued():
    register("a")
    register("b")
    schedules.advance(current(), [move("a")], [tick_of(move("a"))])
    moves = [move("a"), move("b")]
    assert schedules.advance(current(), moves, [tick_of(each) for each in moves]) == {"b"}
    assert count("autotask_task") == 2


def test_who_waits_for_another_to_move_a_schedule_finds_it_moved(transaction, in_background):
    # Given
    register()
    assert schedules.advance(transaction, [move()], [tick_of(move())]) == {"tick"}

    # When
    second = in_background(lambda connection: schedules.advance(connection, [move()], [tick_of(move())]))
    execute(transaction, "COMMIT")

    # Then
    assert second() == set()
    assert count("autotask_task") == 1


def test_who_waits_for_another_that_fails_enqueues_the_tick(transaction, in_background):
    register()
    schedules.advance(transaction, [move()], [tick_of(move())])
    second = in_background(lambda connection: schedules.advance(connection, [move()], [tick_of(move())]))
    execute(transaction, "ROLLBACK")
    assert second() == {"tick"}
    assert count("autotask_task") == 1


def test_any_number_of_workers_enqueue_each_tick_once(in_threads):
    # Given
    register("a")
    register("b")

    # When
    def run(connection, _):
        total = 0
        for number in range(30):
            seen = NOON + number * MINUTE
            moves = [move("a", seen), move("b", seen)]
            total += len(schedules.advance(connection, moves, [tick_of(each) for each in moves]))
        return total

    assert sum(in_threads(run, times=4)) == 60

    # Then
    found = rows(current(), "SELECT schedule, scheduled_for, count(*) FROM autotask_task GROUP BY 1, 2")
    assert len(found) == 60
    assert {number for _, _, number in found} == {1}


def test_a_schedule_whose_task_waits_or_runs_is_told():
    register("a")
    register("b")
    put(schedule="a", scheduled_for=NOON)
    assert schedules.with_live_tasks(current(), {"a": EVERY, "b": EVERY}) == {"a"}
