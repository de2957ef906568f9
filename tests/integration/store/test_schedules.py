"""Schedules: each tick is enqueued exactly once, whoever asks and however often."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from autotask.store import pause, schedules
from autotask.store.connection import current, execute, rows
from autotask.store.schedules import DueSchedule, Move
from tests.integration.store.shapes import count, new_task, put, stored

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
EVERY = "every 60 s"
MINUTE = timedelta(minutes=1)


def register(name="tick", spec=EVERY, tick=NOON, task="tests.tick"):
    return schedules.register(current(), [(name, task, spec, tick)], abandoned=60)


def declare(specs, lately=-1.0):
    return schedules.declare(current(), specs, lately=lately, abandoned=60)


def age(seconds, name="tick"):
    """Make a declaration older than it is."""
    execute(
        current(),
        "UPDATE autotask_schedule SET declared_at = declared_at - %(seconds)s * interval '1 s' WHERE name = %(name)s",
        {"seconds": seconds, "name": name},
    )


def seen(name="tick", tick=NOON, held="", spec=EVERY):
    return DueSchedule(name, spec, tick, held, resumed_at=None, busy=False, now=tick)


def move(name="tick", tick=NOON, by=MINUTE, held=""):
    return Move(seen(name, tick), last_tick=tick, next_tick=tick + by, held=held)


def tick_of(move):
    return new_task(name="tests.tick", schedule=move.seen.name, scheduled_for=move.last_tick)


def deal_with_a_tick(tick):
    execute(current(), "UPDATE autotask_schedule SET last_tick = %(tick)s", {"tick": tick})
    return tick


def next_ticks():
    found = rows(current(), "SELECT name, next_tick FROM autotask_schedule")
    return {name: moment.astimezone(UTC) for name, moment in found}


def spec_of(name="tick"):
    ((spec,),) = rows(current(), "SELECT spec FROM autotask_schedule WHERE name = %(name)s", {"name": name})
    return spec


# --- the register ---------------------------------------------------------------------------------------------------


def test_a_schedule_that_stays_as_it_is_keeps_its_next_tick():
    register()
    assert declare({"tick": EVERY}) == {}
    register(tick=NOON + timedelta(days=1))
    assert next_ticks() == {"tick": NOON}


def test_a_schedule_that_is_not_there_is_to_be_registered_from_now_on():
    before = schedules.now(current())
    assert before <= declare({"tick": EVERY})["tick"] <= schedules.now(current())


def test_a_schedule_that_changes_starts_anew_from_now_on():
    # Given
    register()
    before = schedules.now(current())

    # When
    since = declare({"tick": "every 90 s"})
    register(spec="every 90 s", tick=NOON + timedelta(days=1))

    # Then
    assert before <= since["tick"] <= schedules.now(current())
    assert next_ticks() == {"tick": NOON + timedelta(days=1)}


def test_several_are_registered_at_the_same_time_by_several_workers(in_threads):
    names = [f"tick{number}" for number in range(20)]

    def register_all(connection, number):
        ordered = names if number % 2 else names[::-1]
        declared = [(name, "tests.tick", f"every {60 + number} s", NOON) for name in ordered]
        for _ in range(10):
            schedules.declare(connection, {name: spec for name, _, spec, _ in declared}, lately=-1, abandoned=-1)
            schedules.register(connection, declared, abandoned=-1)

    in_threads(register_all, times=4)
    assert next_ticks() == dict.fromkeys(names, NOON)


def test_no_schedule_at_all_is_no_error():
    assert schedules.register(current(), [], abandoned=60) == 0
    assert declare({}) == {}
    assert schedules.look(current(), {}) == ([], None, False)
    assert schedules.advance(current(), [], []) == (set(), 0)


def test_a_schedule_that_nobody_declares_any_more_is_retired():
    register("old")
    register("young")
    age(2 * 86400, "old")
    assert schedules.retire(current(), 86400.0) == ["old"]
    assert set(next_ticks()) == {"young"}


def test_a_paused_one_is_kept_for_a_month_so_that_it_does_not_start_by_itself_when_its_code_comes_back():
    register()
    pause.pause(current(), "tick", "eve")
    age(29 * 86400)
    assert schedules.retire(current(), 86400.0) == []
    age(2 * 86400)
    assert schedules.retire(current(), 86400.0) == ["tick"]


def test_a_declaration_keeps_a_schedule():
    register()
    age(2 * 86400)
    assert declare({"tick": EVERY}) == {}
    assert schedules.retire(current(), 86400.0) == []


def test_a_declaration_writes_nothing_where_somebody_has_declared_lately():
    register()
    ((version,),) = rows(current(), "SELECT xmin::text FROM autotask_schedule")
    declare({"tick": EVERY}, lately=10)
    assert rows(current(), "SELECT xmin::text FROM autotask_schedule") == [(version,)]
    age(11)
    declare({"tick": EVERY}, lately=10)
    assert rows(current(), "SELECT clock_timestamp() - declared_at < interval '10 s' FROM autotask_schedule") == [
        (True,)
    ]


# --- two versions of the code ---------------------------------------------------------------------------------------

OLD, NEW = "every 60 s", "every 5 s"


def test_a_worker_of_the_old_code_that_starts_again_does_not_take_the_schedule_back():
    # Given: a deployment in which the new code has come
    register(spec=OLD)
    register(spec=NEW)

    # When
    assert declare({"tick": OLD}) == {}
    register(spec=OLD, tick=NOON + MINUTE)

    # Then
    assert spec_of() == NEW
    assert next_ticks() == {"tick": NOON}


def test_when_nobody_declares_the_new_timetable_any_more_the_old_one_goes_on_from_then():
    # Given: the deployment was taken back
    register(spec=OLD)
    register(spec=NEW)
    age(61)
    ((last_sign,),) = rows(current(), "SELECT declared_at AT TIME ZONE 'UTC' FROM autotask_schedule")

    # When
    since = declare({"tick": OLD})["tick"]
    register(spec=OLD, tick=NOON + MINUTE)

    # Then
    assert since == last_sign.replace(tzinfo=UTC)
    assert spec_of() == OLD
    assert next_ticks() == {"tick": NOON + MINUTE}
    assert declare({"tick": NEW}) == {}  # and the workers of the new code do not fight for it


def test_the_old_timetable_goes_on_after_the_last_tick_if_that_is_younger_than_the_last_declaration():
    # Given: the new code was declared, enqueued a tick and died
    register(spec=OLD)
    register(spec=NEW)
    age(61)
    tick = deal_with_a_tick(schedules.now(current()) - timedelta(seconds=58))

    # Then
    assert tick < declare({"tick": OLD})["tick"] < tick + timedelta(seconds=1)


def test_a_new_timetable_starts_after_the_last_tick_even_if_the_clock_was_set_back():
    register(spec=OLD)
    tick = deal_with_a_tick(schedules.now(current()) + MINUTE)
    assert tick < declare({"tick": NEW})["tick"] < tick + timedelta(seconds=1)


def test_a_tick_that_the_old_code_deals_with_between_declaration_and_registration_is_not_begun_again():
    # Given
    register(spec=OLD)
    schedules.advance(current(), [move()], [tick_of(move())])

    # Then
    assert register(spec=NEW, tick=NOON) == 0
    assert next_ticks() == {"tick": NOON + MINUTE}
    assert register(spec=NEW, tick=NOON + timedelta(seconds=5)) == 1
    assert next_ticks() == {"tick": NOON + timedelta(seconds=5)}


def test_of_three_versions_each_gives_way_to_the_newest():
    for spec in ("every 1 s", "every 2 s", "every 3 s"):
        register(spec=spec)
    for spec in ("every 1 s", "every 2 s"):
        assert declare({"tick": spec}) == {}
        register(spec=spec)
    assert spec_of() == "every 3 s"


def test_only_so_many_former_timetables_are_remembered():
    for number in range(15):
        register(spec=f"every {number} s")
    ((former,),) = rows(current(), "SELECT former FROM autotask_schedule")
    assert former.split("\n") == [f"every {number} s" for number in range(13, 3, -1)]


# --- what is due ----------------------------------------------------------------------------------------------------


def test_only_what_is_due_and_declared_alike_is_found():
    # Given
    now = schedules.now(current())
    register("due", tick=now - MINUTE)
    register("later", tick=now + MINUTE)
    register("other version", spec="every 90 s", tick=now - MINUTE)
    register("of others", tick=now - MINUTE)

    # When
    found = schedules.look(current(), {"due": EVERY, "later": EVERY, "other version": EVERY})

    # Then
    (due,) = found.due
    assert (due.name, due.spec, due.next_tick, due.held, due.busy) == ("due", EVERY, now - MINUTE, "", False)
    assert now < due.now < now + MINUTE
    assert found.seconds == pytest.approx(60, abs=5)


def test_the_longest_overdue_comes_first_and_no_more_than_asked_for():
    now = schedules.now(current())
    for minutes in (1, 3, 2):
        register(f"{minutes}", tick=now - minutes * MINUTE)
    found = schedules.look(current(), dict.fromkeys("123", EVERY), limit=2)
    assert [schedule.name for schedule in found.due] == ["3", "2"]


def test_nobody_waits_for_a_tick_of_another_timetable_or_of_a_paused_schedule():
    now = schedules.now(current())
    register("a", tick=now + MINUTE)
    register("b", tick=now + MINUTE)
    pause.pause(current(), "b", "eve")
    assert schedules.look(current(), {"a": "every 5 s", "b": EVERY}) == ([], None, False)


def test_a_schedule_whose_task_waits_or_runs_is_busy():
    now = schedules.now(current())
    register("a", tick=now - MINUTE)
    register("b", tick=now - MINUTE)
    put(schedule="a", scheduled_for=NOON)
    found = schedules.look(current(), {"a": EVERY, "b": EVERY})
    assert {schedule.name: schedule.busy for schedule in found.due} == {"a": True, "b": False}


def test_what_is_held_is_looked_at_when_no_task_of_the_schedule_is_left():
    # Given
    now = schedules.now(current())
    register(tick=now + MINUTE)
    execute(current(), "UPDATE autotask_schedule SET held = 'some'")
    put(schedule="tick", scheduled_for=NOON)

    # Then
    assert schedules.look(current(), {"tick": EVERY})._replace(seconds=None) == ([], None, True)
    execute(current(), "DELETE FROM autotask_task")
    found = schedules.look(current(), {"tick": EVERY})
    assert [(schedule.held, schedule.busy) for schedule in found.due] == [("some", False)]


def test_moments_are_exact_where_local_times_mean_two(settings):
    # Given: New York in the hour that is repeated when summer time ends, without time zones in Django
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    connections["default"].close()
    second_half_past_one = datetime(2024, 11, 3, 6, 30, tzinfo=UTC)
    register("a", tick=second_half_past_one)

    # Then
    (due,) = schedules.look(current(), {"a": EVERY}).due
    assert due.next_tick == second_half_past_one
    connections["default"].close()


# --- ticks ----------------------------------------------------------------------------------------------------------


def test_a_tick_moves_the_schedule_and_enqueues_its_task_in_one_statement():
    # Given
    register()
    task = tick_of(move())

    # When
    assert schedules.advance(current(), [move()], [task]) == ({"tick"}, 1)

    # Then
    assert next_ticks() == {"tick": NOON + MINUTE}
    row = stored(task.id)
    assert (row.name, row.state) == ("tests.tick", 1)
    ((schedule, tick),) = rows(current(), "SELECT schedule, scheduled_for FROM autotask_live")
    assert (schedule, tick.astimezone(UTC)) == ("tick", NOON)


def test_a_tick_is_enqueued_once():
    register()
    assert schedules.advance(current(), [move()], [tick_of(move())]) == ({"tick"}, 1)
    assert schedules.advance(current(), [move()], [tick_of(move())]) == (set(), 0)
    assert count("autotask_task") == 1


def test_what_is_held_can_be_begun_once_as_well():
    # Given: two ticks that wait
    register()
    schedules.advance(current(), [move(held="one two")], [])
    step = Move(seen(tick=NOON + MINUTE, held="one two"), last_tick=None, next_tick=NOON + MINUTE, held="two")
    task = new_task(name="tests.tick", schedule="tick", scheduled_for=NOON)

    # When, then
    assert schedules.advance(current(), [step], [task]) == ({"tick"}, 1)
    assert schedules.advance(current(), [step], [task]) == (set(), 0)
    ((last, held),) = rows(current(), "SELECT last_tick, held FROM autotask_schedule")
    assert (last.astimezone(UTC), held) == (NOON, "two")


def test_a_schedule_can_move_without_a_task():
    register()
    assert schedules.advance(current(), [move()], []) == ({"tick"}, 0)
    assert next_ticks() == {"tick": NOON + MINUTE}


def test_a_task_without_its_schedule_moving_is_not_enqueued():
    register()
    assert schedules.advance(current(), [], [tick_of(move())]) == (set(), 0)
    assert count("autotask_task") == 0


def test_a_schedule_that_has_another_timetable_by_now_does_not_move():
    register()
    register(spec="every 90 s", tick=NOON)
    assert schedules.advance(current(), [move()], [tick_of(move())]) == (set(), 0)


def test_of_several_only_those_that_nobody_else_has_moved_are_enqueued():
    register("a")
    register("b")
    schedules.advance(current(), [move("a")], [tick_of(move("a"))])
    moves = [move("a"), move("b")]
    assert schedules.advance(current(), moves, [tick_of(each) for each in moves]) == ({"b"}, 1)
    assert count("autotask_task") == 2


def test_who_comes_while_another_moves_a_schedule_leaves_it_to_him_and_moves_the_others(transaction):
    # Given
    register("a")
    register("b")
    assert schedules.advance(transaction, [move("a")], [tick_of(move("a"))]) == ({"a"}, 1)

    # When
    moves = [move("a"), move("b")]
    assert schedules.advance(current(), moves, [tick_of(each) for each in moves]) == ({"b"}, 1)
    execute(transaction, "COMMIT")

    # Then
    assert schedules.advance(current(), [move("a")], [tick_of(move("a"))]) == (set(), 0)
    assert count("autotask_task") == 2


def test_where_another_fails_the_tick_is_enqueued_by_the_next_who_comes(transaction):
    register()
    schedules.advance(transaction, [move()], [tick_of(move())])
    execute(transaction, "ROLLBACK")
    assert schedules.advance(current(), [move()], [tick_of(move())]) == ({"tick"}, 1)
    assert count("autotask_task") == 1


def test_a_declaration_in_between_does_not_keep_a_schedule_from_moving(transaction):
    # Given: a worker that has just declared the schedule while another one begins to move it
    register()
    schedules.declare(transaction, {"tick": EVERY}, lately=-1, abandoned=60)
    assert schedules.advance(current(), [move()], [tick_of(move())]) == (set(), 0)
    execute(transaction, "COMMIT")
    assert schedules.advance(current(), [move()], [tick_of(move())]) == ({"tick"}, 1)


def test_any_number_of_workers_enqueue_each_tick_once(in_threads):
    # Given
    register("a")
    register("b")

    # When
    def run(connection, number):
        total = 0
        for step in range(30):
            tick = NOON + step * MINUTE
            moves = [move(name, tick) for name in ("ab" if number % 2 else "ba")]
            while schedules.look(connection, {"a": EVERY, "b": EVERY}).due[0].next_tick <= tick:
                total += schedules.advance(connection, moves, [tick_of(each) for each in moves])[1]
        return total

    assert sum(in_threads(run, times=4)) == 60

    # Then
    found = rows(current(), "SELECT schedule, scheduled_for, count(*) FROM autotask_live GROUP BY 1, 2")
    assert len(found) == 60
    assert {number for _, _, number in found} == {1}
