"""What autotask tells of tasks, workers and schedules: signals with their facts, and log lines without arguments."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from autotask import registry, signals
from autotask.handle import TaskHandle
from autotask.store import rescue, schedules
from autotask.store.connection import current, execute, rows
from autotask.task import State
from autotask.tasks import periodic_task
from autotask.worker.scheduler import Scheduler
from tests.helpers import wait_until
from tests.integration.store.shapes import sign_on, take
from tests.integration.worker import inside, tasks

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = (
    "task_enqueued",
    "task_started",
    "task_ended",
    "task_succeeded",
    "task_failed",
    "task_retrying",
    "task_cancelled",
    "task_lost",
    "worker_started",
    "worker_stopping",
    "schedule_missed",
)


@pytest.fixture
def told():
    """The names and facts of the signals that are sent."""
    heard: list[tuple[str, dict]] = []

    def listen(name):
        def hear(signal, sender, **facts):
            if (task := facts.get("task")) is None or task.scheduled_for is None:  # The schedules of others go on.
                heard.append((name, facts))

        getattr(signals, name).connect(hear)
        return hear

    receivers = {name: listen(name) for name in NAMES}
    yield heard
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def named(told, *names):
    return [name for name, _ in told if name in names]


def facts(told, name):
    (found,) = [facts for heard, facts in told if heard == name]
    return found


def test_a_task_that_succeeds_is_told_of_from_the_call_to_the_end(told, worker):
    # When
    handle = tasks.echo(1)
    handle.wait(10)
    wait_until(lambda: "task_succeeded" in named(told, "task_succeeded"))

    # Then
    assert sorted(named(told, *NAMES[:8])) == ["task_ended", "task_enqueued", "task_started", "task_succeeded"]
    found = facts(told, "task_succeeded")
    assert (found["task_id"], found["name"], found["queue"]) == (handle.id, tasks.echo.name, "default")
    assert (found["state"], found["error_message"], found["exception"]) == (State.DONE, "", None)
    assert found["task"].worker_id == facts(told, "worker_started")["worker_id"]


def test_each_attempt_that_fails_is_told_of(told, worker, tmp_path):
    # When
    handle = tasks.fail_until(str(tmp_path / "calls"), 99)
    wait_until(lambda: handle.ready)

    # Then
    assert named(told, "task_retrying", "task_failed") == ["task_retrying", "task_retrying", "task_failed"]
    assert str(facts(told, "task_failed")["exception"]) == "call 3"


def test_a_coroutine_that_succeeds_is_told_of_too(told, worker):
    tasks.double(1).wait(10)
    wait_until(lambda: named(told, "task_succeeded"))


def test_a_task_that_cancels_itself_is_told_of(told, worker, tmp_path):
    handle = inside.cancel(str(tmp_path / "calls"), "the order was paid")
    wait_until(lambda: handle.ready)
    assert facts(told, "task_cancelled")["error_message"] == "the order was paid"


def test_a_task_that_is_cancelled_while_it_waits_is_told_of_when_that_is_committed(told, caplog):
    # Given
    caplog.set_level("INFO", "autotask")
    handle = tasks.echo.using(delay=60)(1)

    # When
    with pytest.raises(KeyError), transaction.atomic():
        handle.cancel()
        raise KeyError
    assert not named(told, "task_cancelled")
    handle.cancel()

    # Then
    found = facts(told, "task_cancelled")
    assert (found["task_id"], found["name"], found["queue"], found["task"]) == (
        handle.id,
        tasks.echo.name,
        "default",
        None,
    )
    (line,) = [record for record in caplog.records if record.name == "autotask.task"]
    assert (line.levelname, line.task_id, line.task_name, line.state) == (
        "INFO",
        str(handle.id),
        tasks.echo.name,
        "cancelled",
    )


@pytest.mark.parametrize(("max_crashes", "ended", "level"), [(3, False, "WARNING"), (1, True, "ERROR")])
def test_a_task_whose_worker_died_is_told_of(told, caplog, max_crashes, ended, level):
    # Given
    handle = tasks.echo.using(queue="mail")(1)
    worker = sign_on()
    take(worker)

    # When
    rescue.rescue(current(), [worker], reason="signal 9 (SIGKILL)", max_crashes=max_crashes, error_ttl=60.0)

    # Then
    assert facts(told, "task_lost") == {
        "task_id": handle.id,
        "name": tasks.echo.name,
        "queue": "mail",
        "reason": "signal 9 (SIGKILL)",
        "ended": ended,
    }
    (line,) = [record for record in caplog.records if record.name == "autotask.task"]
    assert (line.levelname, line.task_id, line.state) == (level, str(handle.id), "lost")


def test_a_task_whose_process_died_is_told_of(told):
    # Given
    handle = tasks.echo(1)
    (claimed,) = take(sign_on())

    # When
    rescue.lose(current(), [(claimed.id, claimed.fence, "exit status 1")], max_crashes=3, error_ttl=60.0)

    # Then
    assert (facts(told, "task_lost")["task_id"], facts(told, "task_lost")["reason"]) == (handle.id, "exit status 1")


def test_who_is_told_of_losses_has_a_good_connection_also_after_one_was_cut_off(start_worker):
    # Given
    pids = []

    def hear(**_):
        pids.append(rows(current(), "SELECT pg_backend_pid()")[0][0])

    start_worker(queues=("elsewhere",))
    signals.task_lost.connect(hear)
    try:
        for number in (1, 2):
            # When
            tasks.echo(number)
            dead = sign_on()
            take(dead, limit=1)
            execute(current(), "UPDATE autotask_worker SET lease_until = '-infinity' WHERE id = %(id)s", {"id": dead})

            # Then
            wait_until(lambda number=number: len(pids) == number, what="the signal")
            execute(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pids[-1]})
    finally:
        signals.task_lost.disconnect(hear)


def test_a_worker_is_told_of_when_it_is_ready_and_when_it_leaves(told, start_worker):
    # When
    worker = start_worker(queues=("mail",), kind="worker")
    wait_until(lambda: named(told, "worker_started"))
    assert not named(told, "worker_stopping")
    worker.stop()
    wait_until(lambda: named(told, "worker_stopping"))

    # Then
    found = facts(told, "worker_started")
    assert found == facts(told, "worker_stopping")
    assert (found["kind"], found["queues"]) == ("worker", ("mail",))


@pytest.fixture
def schedule(monkeypatch):
    """Enter a schedule, alone; return what has the scheduler find its next tick overdue by so many seconds."""
    monkeypatch.setattr(registry, "_definitions", {})

    def enter(every):
        periodic_task(seconds=every, name="tests.schedule")(tasks.ticking.function)
        scheduler = Scheduler(lambda: None)
        scheduler.run_once(current())

        def overdue(seconds):
            tick = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)
            execute(current(), "UPDATE autotask_schedule SET next_tick = %(tick)s", {"tick": tick})
            scheduler.run_once(current())
            return tick

        return overdue

    return enter


def test_ticks_for_which_one_task_makes_up_are_told_of(told, schedule):
    tick = schedule(60)(600)
    last = tick + timedelta(seconds=540)  # The one after it is not late.
    assert facts(told, "schedule_missed") == {
        "name": "tests.schedule",
        "first": tick,
        "last": last,
        "reason": "made up for",
    }


def test_a_tick_that_is_too_old_to_be_made_up_for_is_told_of(told, schedule, caplog):
    tick = schedule(86400)(7200)
    assert facts(told, "schedule_missed") == {"name": "tests.schedule", "first": tick, "last": tick, "reason": "late"}
    assert [line.schedule for line in caplog.records if line.levelname == "WARNING"] == ["tests.schedule"]


def test_a_tick_that_comes_while_the_task_of_an_earlier_one_waits_is_told_of(told, schedule):
    overdue = schedule(86400)
    overdue(5)
    assert not named(told, "schedule_missed")
    tick = overdue(4)
    assert facts(told, "schedule_missed") == {"name": "tests.schedule", "first": tick, "last": tick, "reason": "busy"}


def test_who_finds_the_schedule_moved_by_another_tells_nothing(told, schedule, monkeypatch):
    monkeypatch.setattr(schedules, "advance", lambda *_: (set(), 0))
    schedule(86400)(7200)
    assert not named(told, "schedule_missed")


# --- log lines ------------------------------------------------------------------------------------------------------

SECRET = "hush-4711"


def test_each_outcome_has_one_line_with_its_facts(worker, caplog, tmp_path):
    # Given
    caplog.set_level("DEBUG", "autotask")

    # When
    good = tasks.echo(1)
    good.wait(10)
    bad = tasks.fail_until(str(tmp_path / "calls"), 99)
    wait_until(lambda: bad.ready)

    # Then
    lines = [line for line in _lines(caplog) if line.task_id in (str(good.id), str(bad.id))]
    assert [(line.levelname, line.task_id, line.task_name, line.queue, line.attempt, line.state) for line in lines] == [
        ("DEBUG", str(good.id), tasks.echo.name, "default", 1, "done"),
        ("WARNING", str(bad.id), tasks.fail_until.name, "default", 1, "retry"),
        ("WARNING", str(bad.id), tasks.fail_until.name, "default", 2, "retry"),
        ("ERROR", str(bad.id), tasks.fail_until.name, "default", 3, "error"),
    ]
    assert all(line.seconds >= 0 and line.worker_id for line in lines)


def _lines(caplog):
    return [record for record in caplog.records if record.name == "autotask.task"]


def test_arguments_and_values_are_in_no_log_line(start_worker, caplog, tmp_path):
    # Given
    caplog.set_level("WARNING", "django.db")  # It logs statements, with their parameters, for who asks for them.
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "autotask")
    handles = [
        tasks.echo(SECRET),
        tasks.fail_until(str(tmp_path / SECRET), 99),
        inside.cancel(str(tmp_path / SECRET), "paid"),
        tasks.echo.using(expires=0.001)(SECRET),
    ]
    cancelled = tasks.echo.using(delay=60)(SECRET)

    # When
    start_worker()
    cancelled.cancel()
    wait_until(lambda: all(handle.ready for handle in handles))
    dying = tasks.echo.using(queue="elsewhere", delay=60)(SECRET)
    TaskHandle(dying.id).cancel()

    # Then
    formatter = logging.Formatter()
    assert [
        line for record in caplog.records if SECRET in (line := formatter.format(record) + repr(vars(record)))
    ] == []
    assert len(_lines(caplog)) >= 7


def test_nothing_configures_the_root_logger(worker):
    root = logging.getLogger()
    before = (root.level, [type(handler).__module__.partition(".")[0] for handler in root.handlers])
    tasks.echo(1).wait(10)
    assert (root.level, [type(handler).__module__.partition(".")[0] for handler in root.handlers]) == before
    assert "autotask" not in before[1]
