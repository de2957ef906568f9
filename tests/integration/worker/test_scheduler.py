"""The scheduler: what becomes a task at which tick, what it costs, and what it says."""

import contextlib
import logging
import random
import sys
import time
from collections import Counter
from datetime import datetime, timedelta

import pytest
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from autotask import registry
from autotask.exceptions import InvalidOption
from autotask.notifications.alerts import looking
from autotask.schedules.policy import IN_TIME
from autotask.store import incidents, pause, schedule_runs, schedules
from autotask.store.connection import current, dedicated, execute, rows
from autotask.task import State
from autotask.tasks import cron_task, periodic_task
from autotask.worker import scheduler
from autotask.worker.scheduler import Scheduler
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import count, stored

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """No tasks but those of the test."""
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_duplicates", [])


def tick():
    """The function of a schedule; it is not run here."""


def schedule(seconds=60, name="tick", **options):
    return periodic_task(seconds, name=name, **options)(tick)


def due_since(seconds, name="tick"):
    """Let the next tick of a schedule have come some seconds ago."""
    execute(
        current(),
        "UPDATE autotask_schedule SET next_tick = clock_timestamp() - %(seconds)s * interval '1 s' WHERE name = %(name)s",
        {"seconds": seconds, "name": name},
    )


def run(service=None):
    """Let a scheduler do all that there is to do, and return the seconds until the next look."""
    service = service or Scheduler(lambda: None)
    while not (wait := service.run_once(current())):
        pass
    return wait


def ticks(name="tick"):
    """Return the ticks that have become tasks, as seconds from the first one."""
    found = sorted(run.scheduled_for for run in schedule_runs.runs(current(), name, limit=1000))
    return [round((moment - found[0]).total_seconds()) for moment in found]


def end_tasks():
    execute(current(), "DELETE FROM autotask_task")


@contextlib.contextmanager
def calls_of_functions():
    """Count the calls of Python functions in this thread, as "call", whatever the speed of the machine."""
    counts = Counter()

    def note(frame, event, argument):
        counts[event] += 1

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(former)


# --- registration ---------------------------------------------------------------------------------------------------


def test_the_first_tick_is_one_interval_after_the_registration_and_a_restart_does_not_shift_it():
    # Given
    schedule(60)
    assert run() <= scheduler.DECLARE_EVERY
    (first,) = schedule_runs.every(current())

    # When
    run()

    # Then
    (again,) = schedule_runs.every(current())
    assert again.next_tick == first.next_tick
    assert (first.next_tick - first.registered_at).total_seconds() == pytest.approx(60, abs=1)
    assert ticks() == []


def test_start_now_is_once_for_each_registration_not_for_each_process():
    schedule(60, start_now=True)
    for _ in range(3):
        run()
        assert ticks() == [0]
    schedule(61, start_now=True)
    end_tasks()
    run()
    assert ticks() == [0]


def test_ten_thousand_ticks_do_not_drift():
    # Given
    schedule(7)
    run()
    due_since(0)
    (before,) = schedule_runs.every(current())

    # When: the clock of the worker goes through them a hundred at a time, and late
    for _ in range(100):
        execute(current(), "UPDATE autotask_schedule SET next_tick = next_tick - interval '700 s'")
        run()

    # Then
    (after,) = schedule_runs.every(current())
    moved = (after.next_tick - before.next_tick).total_seconds()
    assert moved % 7 == 0
    assert after.next_tick > schedules.now(current())


def test_two_versions_of_the_code_do_not_fight_and_lose_no_tick_when_one_of_them_is_taken_back(monkeypatch):
    # Given: workers of two versions, of which the newer one has the schedule
    old, new = {}, {}
    for definitions, seconds in ((old, 60), (new, 30)):
        monkeypatch.setattr(registry, "_definitions", definitions)
        schedule(seconds)

    def run_as(definitions):
        monkeypatch.setattr(registry, "_definitions", definitions)
        run()

    run_as(old)
    run_as(new)
    (registered,) = schedule_runs.every(current())
    assert registered.spec == "every 30 s"

    # When: workers of both start again and again
    for _ in range(3):
        run_as(old)
        run_as(new)

    # Then
    (now,) = schedule_runs.every(current())
    assert (now.spec, now.registered_at, now.next_tick) == (
        registered.spec,
        registered.registered_at,
        registered.next_tick,
    )

    # When: nobody has had the newer one for five minutes
    execute(current(), "UPDATE autotask_schedule SET declared_at = declared_at - interval '310 s'")
    run_as(old)

    # Then: the ticks of the old one since then were missed, and are made up for
    assert schedule_runs.every(current())[0].spec == "every 60 s"
    assert ticks() == [0]


def test_a_tick_that_the_old_code_enqueues_while_the_new_one_registers_is_not_enqueued_again(monkeypatch):
    # Given: the old code, and a worker of the new one that learns of the tick before
    schedule(60)
    run()
    due_since(0)
    new = schedule(3600, start_now=True)
    old_declare = schedules.declare

    def declare_before_the_tick(connection, specs, **options):
        unregistered = old_declare(connection, specs, **options)
        execute(current(), "UPDATE autotask_schedule SET last_tick = clock_timestamp()")
        return unregistered

    monkeypatch.setattr(schedules, "declare", declare_before_the_tick)
    service = Scheduler(lambda: None)

    # When
    wait = run(service)

    # Then: it comes again soon
    assert new.schedule.spec != schedule_runs.every(current())[0].spec
    assert ticks() == []
    assert wait <= scheduler.DECLARE_AGAIN


# --- misfire and overlap --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misfire", "expected"), [("skip", []), ("once", [0]), ("all", [60 * number for number in range(11)])]
)
def test_ten_minutes_without_a_scheduler_make_none_one_or_all_of_the_ticks(misfire, expected):
    # Given
    schedule(60, misfire=misfire, overlap="allow")
    run()
    due_since(630)

    # When
    wait = run()

    # Then
    assert ticks() == expected
    assert wait <= scheduler.DECLARE_EVERY
    assert (schedule_runs.every(current())[0].next_tick - schedules.now(current())).total_seconds() == pytest.approx(
        30, abs=15
    )


def test_runs_that_wait_for_an_earlier_one_begin_one_after_the_other():
    # Given
    schedule(60, misfire="all")  # and so overlap="queue"
    run()
    due_since(150)

    # When, then
    assert run() <= scheduler.HELD_LOOK
    started = []
    for left in (2, 1, 0):
        ((task_tick,),) = rows(current(), "SELECT scheduled_for AT TIME ZONE 'UTC' FROM autotask_live")
        started.append(task_tick)
        assert len(schedule_runs.every(current())[0].held) == left
        end_tasks()
        run()
    assert [(b - a).total_seconds() for a, b in zip(started, started[1:], strict=False)] == [60, 60]
    assert rows(current(), "SELECT 1 FROM autotask_live") == []


def test_ticks_are_left_out_while_a_task_is_live_and_that_is_said_once(caplog):
    # Given
    caplog.set_level(logging.INFO, "autotask.worker")
    schedule(60)
    service = Scheduler(lambda: None)
    run(service)
    due_since(0)
    run(service)

    # When
    for _ in range(3):
        due_since(0)
        run(service)

    # Then
    assert ticks() == [0]
    assert [line.rpartition(": ")[2] for line in caplog.messages if " missed: " in line] == ["busy"]


def incidents_of(*rules, settings):
    """Let schedules be 300 seconds late, and a scheduler handle that; return what is to be announced afterwards."""
    settings.AUTOTASK_ALERTS = list(rules)
    run()
    due_since(300)
    run()
    looking.look(current())
    found = []
    while claimed := incidents.claim(current(), [each.key for each in found]):
        found.append(claimed)
    return [(each.key, each.text.partition(" of ")[0]) for each in found]


def test_a_missed_tick_is_announced_although_it_was_made_up_for_before_anybody_looked(settings):
    schedule(60)
    rule = {"when": "missed", "seconds": 120, "to": "ops@example.org"}
    assert incidents_of(rule, settings=settings) == [("missed:tick", "the schedule tick has missed its tick")]


def test_a_tick_that_is_left_out_for_lateness_is_announced_too(settings):
    schedule(60, misfire="skip")
    rule = {"when": "missed", "seconds": 120, "schedule": "tick", "to": "ops@example.org"}
    assert incidents_of(rule, settings=settings) == [("missed:tick:tick", "the schedule tick has missed its tick")]


def test_a_tick_in_time_by_the_rule_or_of_another_schedule_is_not_announced(settings):
    schedule(60)
    later, other = ({"when": "missed", "to": "ops@example.org", **more} for more in LATER_AND_OTHER)
    assert incidents_of(later, other, settings=settings) == []


LATER_AND_OTHER = ({"seconds": 900}, {"seconds": 120, "schedule": "another"})


def test_ticks_that_passed_during_a_pause_are_not_announced(settings):
    settings.AUTOTASK_ALERTS = [{"when": "missed", "seconds": 120, "to": "ops@example.org"}]
    schedule(60)
    run()
    assert pause.pause(current(), "tick", "ann")
    due_since(300)
    assert pause.resume(current(), "tick")
    run()
    looking.look(current())
    assert incidents.claim(current(), []) is None


@pytest.fixture
def no_incidents():
    """A table of incidents that cannot be written, as with a right that is missing."""
    execute(current(), "ALTER TABLE autotask_incident RENAME TO elsewhere")
    yield
    execute(current(), "ALTER TABLE elsewhere RENAME TO autotask_incident")


@pytest.mark.parametrize("rules", [[{"when": "missed", "seconds": 60, "to": "ops@example.org"}], "no list"])
def test_ticks_go_on_while_missed_ones_cannot_be_announced_and_that_is_said_once(no_incidents, settings, caplog, rules):
    # Given
    schedule(60)
    service = Scheduler(lambda: None)
    run(service)
    settings.AUTOTASK_ALERTS = rules

    # When, Then
    for _ in range(2):
        due_since(200)
        run(service)
        assert ticks() != []
        end_tasks()
    said = [record.message for record in caplog.records if "AUTOTASK_ALERTS" in record.message]
    assert said == ["Cannot note missed ticks for AUTOTASK_ALERTS, will try again"]


def test_missed_ticks_are_reported(caplog):
    caplog.set_level(logging.INFO, "autotask.worker")
    schedule(60, misfire="skip")
    service = Scheduler(lambda: None)
    run(service)
    due_since(7 * 3600 + 30)
    run(service)
    assert [line.rpartition(": ")[2] for line in caplog.messages if " missed: " in line] == ["late"]


def test_a_hundred_ticks_at_most_are_made_up_for():
    schedule(1, misfire="all", overlap="allow")
    run()
    due_since(1000)
    run()
    assert 100 <= len(ticks()) <= 110  # some seconds may have passed


def test_ticks_during_a_pause_are_not_made_up_for():
    # Given
    schedule(60, misfire="all", overlap="allow")
    run()
    pause.pause(current(), "tick", "eve")
    due_since(600)
    run()
    assert ticks() == []

    # When
    pause.resume(current(), "tick")
    wait = run()

    # Then
    assert ticks() == []
    assert wait <= scheduler.DECLARE_EVERY
    assert schedule_runs.every(current())[0].next_tick > schedules.now(current())


def test_jitter_delays_the_task_and_not_the_tick(monkeypatch):
    # Given
    schedule(60, jitter=timedelta(seconds=30))
    run()
    due_since(1)
    monkeypatch.setattr(random, "uniform", lambda least, most: most)

    # When
    run()

    # Then
    (task,) = schedule_runs.runs(current(), "tick")
    assert (task.run_at - task.created_at).total_seconds() == pytest.approx(30, abs=0.1)
    assert (task.created_at - task.scheduled_for).total_seconds() < 10


# --- the task of a tick ---------------------------------------------------------------------------------------------


def test_the_task_of_a_tick_has_the_options_of_the_decorator():
    # Given
    schedule(60, queue="night", priority=7, retries=2, timeout=5, expires=40, at_most_once=False, tags=["eu"])
    run()
    due_since(1)

    # When
    run()

    # Then
    found = rows(
        current(),
        "SELECT queue, priority, retries, timeout, extract(epoch FROM expires_at - run_at)::float8, tags FROM autotask_live",
    )
    assert found == [("night", 7, 2, 5.0, 40.0, ["eu"])]


@pytest.mark.parametrize(("seconds", "ttl"), [(1, 300), (60, 1200)])
def test_a_result_is_kept_until_twenty_more_ticks_have_come(seconds, ttl):
    schedule(seconds, ttl=300)
    run()
    due_since(0)
    run()
    due_since(0)
    end_tasks()
    run()
    ((found,),) = rows(current(), "SELECT ttl FROM autotask_live")
    assert found == pytest.approx(ttl, abs=seconds)


def test_a_schedule_can_be_run_by_hand_between_its_ticks_and_even_if_it_is_paused():
    # Given
    task = schedule(3600)
    run()
    pause.pause(current(), "tick", "eve")

    # When
    handle = task.run_now()

    # Then
    (found,) = schedule_runs.runs(current(), "tick")
    assert (found.id, found.scheduled_for) == (handle.id, None)
    assert schedule_runs.every(current())[0].last_tick is None
    assert rows(current(), "SELECT ttl > 19 * 3600 FROM autotask_live") == [(True,)]


# --- what it costs --------------------------------------------------------------------------------------------------


def test_a_scheduler_without_schedules_asks_nothing():
    with CaptureQueriesContext(current()) as queries:
        run()
    assert len(queries) == 0


def test_an_idle_scheduler_looks_once_and_then_sleeps_until_the_next_tick_or_for_long():
    schedule(3600)
    service = Scheduler(lambda: None)
    run(service)
    with CaptureQueriesContext(current()) as queries:
        run(service)
    assert len(queries) == 1
    with contextlib.closing(dedicated("scheduler")) as connection:
        assert service.run_once(connection.wrapper) > scheduler.DEAF_LOOK


def test_a_thousand_schedules_take_as_many_statements_as_a_hundred_and_no_more_work_for_each(monkeypatch):
    # Given: half of them by the calendar, each with an expression of its own, and none declared again meanwhile
    monkeypatch.setattr(scheduler, "DECLARE_EVERY", 3600.0)
    hour = datetime.now().hour + 6  # In no time zone is one of them due in the next hour.

    def work_for_each(number):
        """Return how many calls of Python functions the ticks of a second take for each of so many schedules."""
        for n in range(len(registry.schedules()) // 2, number // 2):
            schedule(3600 + n, name=f"tick{n}")
            cron_task(minutes=n % 60, hours=(hour + n // 60) % 24, tz="Europe/Berlin", name=f"tock{n}")(tick)
        service = Scheduler(lambda: None)
        run(service)
        end_tasks()
        execute(current(), "UPDATE autotask_schedule SET next_tick = date_trunc('second', clock_timestamp())")

        # When
        with CaptureQueriesContext(current()) as queries, calls_of_functions() as calls:
            run(service)

        # Then
        assert rows(current(), "SELECT count(*), count(DISTINCT schedule) FROM autotask_live") == [(number, number)]
        statements = [query["sql"] for query in queries]
        assert sum("INSERT INTO autotask_task" in sql for sql in statements) == 1
        assert len(statements) == 3  # a look, the tasks, and a look at what comes next
        return calls["call"] / number

    few, many = work_for_each(100), work_for_each(1000)
    assert many < 1.1 * few, (few, many)
    assert many < 400  # a small part of a second of any processor for all of them


def test_without_notifications_a_resumed_schedule_is_looked_at_before_its_tick_would_be_late():
    # Given
    schedule(3600)

    # Then
    assert run() <= IN_TIME.total_seconds() / 2


def test_a_schedule_that_somebody_has_locked_keeps_no_other_from_its_tick(other_connection):
    # Given
    schedule(60, name="locked")
    schedule(60, name="free")
    service = Scheduler(lambda: None)
    run(service)
    due_since(1, "locked")
    due_since(1, "free")
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM autotask_schedule WHERE name = 'locked' FOR UPDATE")

    # When
    wait = service.run_once(current())

    # Then
    assert wait == scheduler.LOCKED_LOOK
    assert (ticks("free"), ticks("locked")) == ([0], [])
    execute(other_connection, "ROLLBACK")
    run(service)
    assert ticks("locked") == [0]


def test_a_changed_schedule_that_somebody_has_locked_keeps_no_other_from_its_registration_and_its_tick(
    other_connection,
):
    # Given: of three changed or unchanged schedules one that is locked
    for name in ("locked", "changed", "same"):
        schedule(60, name=name)
    run()
    due_since(1, "same")
    schedule(90, name="locked")
    schedule(90, name="changed")
    service = Scheduler(lambda: None)

    # When
    with transaction.atomic():
        execute(current(), "SELECT 1 FROM autotask_schedule WHERE name = 'locked' FOR UPDATE")
        service.run_once(other_connection)
        wait = service.run_once(other_connection)

    # Then: it is tried again soon
    specs = {found.name: found.spec for found in schedule_runs.every(current())}
    assert specs == {"locked": "every 60 s", "changed": "every 90 s", "same": "every 60 s"}
    assert ticks("same") == [0]
    assert wait <= scheduler.DECLARE_AGAIN
    wait_until(lambda: run(service) > scheduler.DECLARE_AGAIN, what="the next declaration")
    assert {found.name: found.spec for found in schedule_runs.every(current())}["locked"] == "every 90 s"


# --- tasks with gates and unique keys --------------------------------------------------------------------------------


def test_a_tick_whose_key_is_taken_is_left_out(caplog):
    # Given
    caplog.set_level(logging.INFO, logger="autotask.worker")
    task = schedule(overlap="allow", unique=True, concurrency=1)
    service = Scheduler(lambda: None)
    run(service)
    by_hand = task.run_now()
    assert by_hand.created and stored(by_hand.id).state is State.HELD

    # When
    due_since(1)
    run(service)

    # Then
    assert count("autotask_task") == 1 and ": taken" in caplog.text
    assert not task.run_now().created
    by_hand.cancel()
    due_since(1)
    run(service)
    assert rows(current(), "SELECT state, scheduled_for IS NOT NULL FROM autotask_live") == [(State.HELD, True)]


def test_a_key_that_an_open_transaction_has_taken_holds_up_no_other_schedule(other_connection):
    # Given
    task = schedule(overlap="allow", unique=True)
    schedule(name="other")
    service = Scheduler(lambda: None)
    run(service)
    due_since(1)
    due_since(1, "other")

    # When
    with transaction.atomic():
        task.run_now()
        assert service.run_once(other_connection) == scheduler.LOCKED_LOOK
        assert rows(other_connection, "SELECT schedule FROM autotask_live") == [("other",)]
        assert service.run_once(other_connection) == scheduler.LOCKED_LOOK

    # Then
    assert service.run_once(other_connection) == 0.0
    assert count("autotask_task") == 2 and service.run_once(other_connection) > 1


@pytest.mark.parametrize("option", [{"debounce": 5}, {"throttle": "1/m"}, {"unique": True, "unique_for": 60}])
def test_an_option_that_only_calls_can_have_is_refused(option):
    with pytest.raises(InvalidOption, match="timetable"):
        schedule(**option)


# --- in a worker ----------------------------------------------------------------------------------------------------


def test_a_worker_that_sleeps_until_a_far_tick_is_notified_of_a_resumption(start_worker):
    # Given: a worker that has nothing to do for an hour, and will look by itself in 20 s
    schedule(3600)
    start_worker()
    wait_until(lambda: schedule_runs.every(current()), what="the registration")
    pause.pause(current(), "tick", "eve")
    due_since(-2.0)
    paused_at = time.monotonic()

    # When
    pause.resume(current(), "tick")

    # Then
    wait_until(lambda: ticks() == [0], what="the task of the tick")
    assert time.monotonic() - paused_at < patient(15)


def test_a_task_that_is_run_by_hand_belongs_to_no_tick(start_worker):
    # Given
    seen = []
    task = periodic_task(3600, name="tell", takes_context=True)(lambda context: seen.append(context.scheduled_for))
    start_worker()

    # When
    task.run_now().wait(10)

    # Then
    assert seen == [None]
