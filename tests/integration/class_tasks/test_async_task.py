"""AsyncTask: one task for each id, its states, its logger and its callback."""

import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

from autotask.exceptions import NotRetryable, SchemaMismatch, UnknownTask
from autotask.store import once, prune, read
from autotask.store.connection import current, execute, rows
from autotask.task import ERROR
from autotask.testing import captured_tasks, immediate
from autotask.worker import log_capture
from tests.gates import gate
from tests.helpers import ROOT, ended, environment, patient, wait_until
from tests.integration.class_tasks.async_tasks import (
    CalledBack,
    Daily,
    Forecast,
    Impatient,
    InProcess,
    Limited,
    NoLogger,
    OnLoop,
    Soon,
    Stepwise,
)
from tests.integration.worker import tasks
from tests.integration.worker.conftest import worker_program
from tests.integration.worker.stubborn import lines

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]

COUNT = """
SELECT (SELECT count(*) FROM autotask_live WHERE name = %(name)s), (SELECT count(*) FROM autotask_result WHERE name = %(name)s)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


def counts(cls):
    """Return how many live tasks and how many results there are."""
    return rows(current(), COUNT, {"name": cls.definition.name})[0]


def end(cls, task_id):
    """Wait for the end of a task, and return its state."""
    wait_until(lambda: cls.get_handle(task_id).ready, 30, "the end of the task")
    return cls.retrieve(task_id)


def grow_old(cls, task_id, seconds):
    """Let a task have ended earlier."""
    sql = "UPDATE autotask_result SET ended_at = ended_at - %(seconds)s * interval '1 s' WHERE id = %(id)s"
    execute(current(), sql, {"seconds": seconds, "id": cls.get_handle(task_id).id})


# --- states -------------------------------------------------------------------------------------------------------------


def test_a_task_is_known_by_its_id(start_worker):
    # Given
    task_id = Forecast.run(city="Oslo", day="2026-11-28")
    assert task_id == "Oslo-2026-11-28"
    assert Forecast.retrieve(task_id) == {"status": "running"}
    assert Forecast.retrieve("Oslo") is None

    # When
    start_worker()

    # Then
    assert end(Forecast, task_id) == {"status": "success", "result": {"t": 21, "day": "2026-11-28"}}


def test_ids_belong_to_their_class():
    Forecast.run(city="Oslo")
    assert Daily.retrieve("Oslo-today") is None


def test_without_ids_of_its_own_each_call_makes_a_task(worker):
    ids = [NoLogger.run(x=1), NoLogger.run(x=1)]
    assert len(set(ids)) == 2
    assert [end(NoLogger, id)["result"] for id in ids] == [1, 1]


def test_a_failed_task_says_why_and_runs_again_at_once_with_new_arguments(worker, path):
    # Given
    Forecast.run(city="Oslo", path=path, fails=True)
    assert end(Forecast, "Oslo-today") == {"status": "failed", "error": "ValueError: boom"}
    handle = Forecast.get_handle("Oslo-today")

    # When
    Forecast.run(city="Oslo", path=path)

    # Then
    assert end(Forecast, "Oslo-today") == {"status": "success", "result": {"t": 21, "day": "today"}}
    assert Forecast.get_handle("Oslo-today") == handle
    handle.refresh()
    assert [attempt.error_message for attempt in handle.failed_attempts] == ["ValueError: boom"]
    assert lines(path) == ["Oslo today 1", "Oslo today 2"]
    assert counts(Forecast) == (0, 1)


def test_a_task_that_is_live_is_not_stored_again(path, start_worker):
    # Given
    for _ in range(3):
        assert Forecast.run(city="Oslo", path=path, gate="forecast") == "Oslo-today"
    assert counts(Forecast) == (1, 0)

    # When it runs
    start_worker()
    assert gate("forecast reached").wait(patient(20))
    Forecast.run(city="Oslo", path=path)

    # Then
    assert counts(Forecast) == (1, 0)
    gate("forecast").set()
    assert end(Forecast, "Oslo-today")["status"] == "success"
    assert lines(path) == ["Oslo today 1"]


def test_a_task_that_is_done_does_not_run_again_without_a_limit(worker, path):
    Forecast.run(city="Oslo", path=path)
    end(Forecast, "Oslo-today")
    grow_old(Forecast, "Oslo-today", 10**8)
    Forecast.run(city="Oslo", path=path)
    assert counts(Forecast) == (0, 1)


def test_a_task_that_is_done_runs_again_after_its_limit(worker, path):
    # Given
    Daily.run(city="Oslo", path=path)
    end(Daily, "Oslo-today")
    grow_old(Daily, "Oslo-today", timedelta(hours=23).total_seconds())
    Daily.run(city="Oslo", path=path)
    assert counts(Daily) == (0, 1)

    # When
    grow_old(Daily, "Oslo-today", timedelta(hours=1.1).total_seconds())
    handle = Daily.get_handle("Oslo-today")
    assert Daily.definition.enqueue("Oslo", path=path) == handle

    # Then
    wait_until(lambda: len(lines(path)) == 2, what="the second run")
    assert end(Daily, "Oslo-today")["status"] == "success"
    assert Daily.get_handle("Oslo-today") == handle


def test_a_task_that_runs_for_longer_than_its_limit_runs_once(start_worker, path):
    start_worker(threads=3)
    Soon.run(city="Oslo", path=path, gate="long")
    wait_until(lambda: lines(path), what="the start")
    time.sleep(2 * Soon.rerun_time_limit)
    Soon.run(city="Oslo", path=path)
    gate("long").set()
    end(Soon, "Oslo-today")
    assert lines(path) == ["Oslo today 1"]


def test_a_cancelled_task_runs_again(start_worker):
    Forecast.run(city="Oslo")
    Forecast.get_handle("Oslo-today").cancel()
    assert Forecast.retrieve("Oslo-today") == {"status": "failed", "error": "cancelled"}
    Forecast.run(city="Oslo")
    assert Forecast.retrieve("Oslo-today") == {"status": "running"}
    start_worker()
    assert end(Forecast, "Oslo-today")["status"] == "success"


def test_a_task_that_takes_too_long_has_failed_and_runs_again(worker):
    Impatient.run(city="Oslo", seconds=5)
    assert end(Impatient, "Oslo-today") == {"status": "failed", "error": "timed out after 1 s"}
    Impatient.run(city="Oslo")
    assert end(Impatient, "Oslo-today")["status"] == "success"


def test_a_pruned_task_is_unknown_and_runs_again(worker, path):
    Forecast.run(city="Oslo", path=path)
    end(Forecast, "Oslo-today")
    execute(current(), "UPDATE autotask_result SET kept_until = now() - interval '1 s' WHERE name = %(name)s",
            {"name": Forecast.definition.name})  # fmt: skip
    prune.prune(current(), 100)
    assert Forecast.retrieve("Oslo-today") is None
    Forecast.run(city="Oslo", path=path)
    wait_until(lambda: len(lines(path)) == 2, what="the second run")


def test_a_result_is_kept_for_a_century(worker):
    Forecast.run(city="Oslo")
    end(Forecast, "Oslo-today")
    stored = read.task(current(), Forecast.get_handle("Oslo-today").id)
    assert (stored.kept_until - stored.ended_at).days > 36500


# --- known ids ----------------------------------------------------------------------------------------------------------


def test_a_known_task_runs_again_with_the_arguments_that_it_had(worker, path):
    # Given
    Forecast.run(city="Oslo", path=path, fails=True)
    end(Forecast, "Oslo-today")

    # When
    assert Forecast.run(task_id="Oslo-today") == "Oslo-today"

    # Then
    wait_until(lambda: len(lines(path)) == 2, what="the second run")
    assert end(Forecast, "Oslo-today")["status"] == "failed"


def test_a_known_task_that_is_done_runs_by_the_same_rule(worker, path):
    Daily.run(city="Oslo", path=path)
    end(Daily, "Oslo-today")
    Daily.run("Oslo-today")
    assert counts(Daily) == (0, 1)
    grow_old(Daily, "Oslo-today", 90_000)
    Daily.run("Oslo-today")
    wait_until(lambda: len(lines(path)) == 2, what="the second run")
    assert end(Daily, "Oslo-today")["result"]["t"] == 21


def test_an_unknown_id_is_refused():
    with pytest.raises(UnknownTask, match="has no task with the id 'Bergen'"):
        Forecast.run(task_id="Bergen")
    with pytest.raises(UnknownTask):
        Forecast.get_logger("Bergen")
    for odd in ("\0", "\ud800", "x" * 300):
        assert Forecast.retrieve(odd) is None
        with pytest.raises(UnknownTask):
            Forecast.run(task_id=odd)
    assert counts(Forecast) == (0, 0)


# --- races --------------------------------------------------------------------------------------------------------------


def test_a_call_in_an_open_transaction_holds_up_calls_for_the_same_id(path):
    """Two calls at one moment make one task, also if the first one is not committed yet."""
    found = []

    def call():
        found.append(Forecast.run(city="Oslo"))
        connections.close_all()

    second = threading.Thread(target=call)
    with transaction.atomic():
        Forecast.run(city="Oslo", path=path)
        second.start()
        second.join(0.5)
        assert second.is_alive()
    second.join(patient(20))
    assert found == ["Oslo-today"]
    assert counts(Forecast) == (1, 0)


def test_a_call_that_is_rolled_back_leaves_nothing():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Forecast.run(city="Oslo")
        raise ZeroDivisionError
    assert Forecast.retrieve("Oslo-today") is None
    assert counts(Forecast) == (0, 0)


def test_a_finished_task_that_somebody_retries_meanwhile_runs_once(start_worker, path, monkeypatch):
    # Given: no worker at the moment, which could also end the retry meanwhile
    worker = start_worker()
    Forecast.run(city="Oslo", path=path, fails=True)
    end(Forecast, "Oslo-today")
    worker.stop()
    wait_until(lambda: not read.workers(current()), what="the end of the worker")
    handle = Forecast.get_handle("Oslo-today")
    find = once.find

    def find_late(connection, key, limit=None):
        former = find(connection, key, limit)
        if connection.in_atomic_block and find_late.first:
            find_late.first = False
            thread = threading.Thread(target=lambda: (handle.retry(), connections.close_all()))
            thread.start()
            thread.join()
        return former

    find_late.first = True

    # When
    monkeypatch.setattr(once, "find", find_late)
    Forecast.run(city="Oslo", path=path)
    start_worker()

    # Then
    assert not find_late.first
    assert end(Forecast, "Oslo-today")["status"] == "failed"
    assert len(lines(path)) == 2


def test_a_retry_is_refused_while_the_task_is_live(worker):
    Forecast.run(city="Oslo", fails=True)
    end(Forecast, "Oslo-today")
    handle = Forecast.get_handle("Oslo-today")
    with transaction.atomic():  # so that no worker runs it in between
        handle.retry()
        with pytest.raises(NotRetryable):
            handle.retry()
    assert ended(handle) is ERROR


def test_fifty_calls_of_one_id_from_four_processes_make_one_run(start_worker, path):
    # Given
    program = (
        "import sys, django; django.setup()\n"
        "from tests.integration.class_tasks.async_tasks import Forecast\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from django.db import connections\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "def call(i):\n"
        "    try: return Forecast.run(city='Oslo', path=sys.argv[1])\n"
        "    finally: connections.close_all()\n"
        "print(set(ThreadPoolExecutor(5).map(call, range(int(sys.argv[2])))))\n"
    )
    env = environment(DJANGO_SETTINGS_MODULE="testproject.settings", DEBUG="false")
    processes = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", program, str(path), str(number)], cwd=ROOT, env=env,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in (13, 13, 12, 12)
    ]  # fmt: skip
    start_worker()

    # When
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()

    # Then
    assert [process.communicate(timeout=60)[0] for process in processes] == ["{'Oslo-today'}\n"] * 4
    assert end(Forecast, "Oslo-today")["status"] == "success"
    assert lines(path) == ["Oslo today 1"]
    assert counts(Forecast) == (0, 1)


def test_calls_that_race_for_a_failed_task_run_it_once(start_worker, path):
    # Given
    worker = start_worker(threads=4)
    Forecast.run(city="Oslo", path=path, fails=True)
    end(Forecast, "Oslo-today")
    start = threading.Barrier(8)

    def call():
        start.wait()
        Forecast.run(city="Oslo", path=path, seconds=0.5)
        connections.close_all()

    # When
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Then
    assert end(Forecast, "Oslo-today")["status"] == "success"
    assert lines(path) == ["Oslo today 1", "Oslo today 2"]
    assert worker.exit_status == 0


# --- the rest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Forecast, InProcess])
def test_the_logger_is_that_of_the_task(start_worker, cls, caplog, capfd):
    start_worker(processes=1)
    cls.run(city="Oslo")
    assert end(cls, "Oslo-today")["status"] == "success"
    logger = cls.get_logger("Oslo-today")
    assert logger.name == f"autotask.task.{cls.get_handle('Oslo-today').id}"
    if cls is Forecast:
        assert (logger.name, "start of Oslo") in [(record.name, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize("cls", [Forecast, InProcess])
def test_the_log_file_has_the_name_of_the_id(start_worker, cls, settings, tmp_path, monkeypatch):
    # Given
    settings.AUTOTASK_LOG_DIR = folder = tmp_path / "logs"
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.integration.worker.app.settings")
    monkeypatch.setenv("AUTOTASK_TEST_LOG_DIR", str(folder))
    start_worker(processes=1)

    # When
    cls.run(city="Oslo")
    assert end(cls, "Oslo-today")["status"] == "success"

    # Then
    found = [line.split(" | ") for line in (folder / "Oslo-today.log").read_text().splitlines()]
    assert [fields[2] for fields in found] == ["Oslo-today"] * 3
    started, own, done = (fields[3].partition(" - ")[2] for fields in found)
    assert started.startswith("started: ") and own == "start of Oslo" and done.startswith("attempt 1 of 1 done after ")
    assert (folder / "Oslo-today.log").resolve().name == f"{cls.get_handle('Oslo-today').id}.log"
    settings.AUTOTASK_LOG_DIR = None
    log_capture.start()


def test_a_coroutine_gets_a_logger_too(start_worker):
    start_worker(coroutines=1)
    assert end(OnLoop, OnLoop.run(x=5)) == {"status": "success", "result": 5}


def test_callback_gets_a_finished_future_and_changes_nothing(worker, path, caplog):
    for what in ("go", "fail", "fail later"):
        CalledBack.run(path=path, what=what)
        end(CalledBack, f"id of {what}")
    assert lines(path) == ["id of go: 'go'", "id of fail: ValueError('boom')", "id of fail later: 'fail later'"]
    assert CalledBack.retrieve("id of fail later")["status"] == "success"
    assert len([record for record in caplog.records if "A hook for the end" in record.message]) == 1


def test_arguments_are_checked_at_the_call():
    with pytest.raises(SchemaMismatch, match="n: 10 is greater than the maximum of 9"):
        Limited.run(n=10)
    assert counts(Limited) == (0, 0)


def test_a_limited_class_passes_its_gate_again_when_it_runs_again(start_worker):
    # Given
    Limited.run(n=1)
    Limited.get_handle("1").cancel()

    # When
    Limited.run(n=1)
    assert rows(
        current(), "SELECT gate FROM autotask_live WHERE name = %(name)s", {"name": Limited.definition.name}
    ) == [(f"limit:{Limited.definition.name}",)]

    # Then
    start_worker()
    assert end(Limited, "1") == {"status": "success", "result": 1}


def test_a_task_that_runs_again_runs_its_steps_again(worker, path):
    Stepwise.run(path=path, fails=True)
    end(Stepwise, "the one")
    Stepwise.run(path=path, fails=False)
    assert end(Stepwise, "the one")["status"] == "success"
    assert lines(path) == ["first of True", "first of False"]


def test_every_way_to_call_obeys_the_rule(worker):
    handle = Forecast.definition.enqueue("Oslo")
    assert handle.created is True
    assert Forecast.definition.using(priority=5)("Oslo") == handle
    many = Forecast.definition.enqueue_many([("Oslo",), {"city": "Bergen"}, ("Bergen",)])
    assert [one.created for one in many] == [False, True, False]
    assert many[0] == handle
    assert many[1] == many[2]


def test_it_works_with_immediate_and_captured_tasks(path):
    with immediate():
        Forecast.run(city="Oslo", fails=True, path=path)
        Forecast.run(city="Oslo", path=path)
        assert Forecast.retrieve("Oslo-today")["status"] == "success"
    with captured_tasks() as tasks:
        Forecast.run(city="Bergen", path=path)
        Forecast.run(city="Bergen", path=path)
        assert len(tasks) == 1
        tasks.run_pending()
    assert lines(path) == ["Oslo today 1", "Oslo today 2", "Bergen today 1"]


async def roundtrip():
    task_id = await Forecast.arun(city="Oslo")
    return task_id, await Forecast.aretrieve(task_id)


def test_coroutines_call_it_too():
    assert async_to_sync(roundtrip)() == ("Oslo-today", {"status": "running"})


def test_a_worker_that_is_killed_leaves_one_task_that_runs_again(start_worker, path, tmp_path):
    # Given
    Forecast.run(city="Oslo", path=path, seconds=3)
    program = worker_program(tmp_path, ())
    wait_until(lambda: lines(path), 30, what="the start")

    # When
    program.kill()
    assert Forecast.retrieve("Oslo-today") == {"status": "running"}
    Forecast.run(city="Oslo", path=path)
    start_worker()

    # Then
    assert end(Forecast, "Oslo-today")["status"] == "success"
    assert lines(path) == ["Oslo today 1", "Oslo today 2"]
    assert counts(Forecast) == (0, 1)


def test_an_id_is_found_by_its_index():
    execute(current(), "SET enable_seqscan = off")
    try:
        plan = "\n".join(row[0] for row in rows(current(), f"EXPLAIN {once.FIND}", {"key": "x(1)", "limit": None}))
    finally:
        execute(current(), "RESET enable_seqscan")
    assert "autotask_result_once" in plan
    assert "autotask_unique" in plan


def test_others_do_not_keep_the_arguments_of_done_tasks(worker):
    handle = tasks.echo(1)
    assert handle.wait(20) == 1
    sql = "SELECT payload IS NULL FROM autotask_result WHERE id = %(id)s"
    assert rows(current(), sql, {"id": handle.id}) == [(True,)]
