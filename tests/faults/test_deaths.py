"""Processes that die: workers, guards, Django processes, whole hosts (faults 1, 3, 5, 9, 12 to 15)."""

import signal
import time

import psutil
import pytest

from autotask.store import read
from autotask.task import State
from tests.acceptance import processes
from tests.faults.app import tasks
from tests.faults.world import START, quantile
from tests.helpers import wait_until


@pytest.mark.fault(1, quick=True)
def test_nothing_is_lost_when_a_worker_is_killed_each_second(world, figures, lasting):
    # Given
    world.keep(3)
    caller = world.caller("--rate=10", "--seconds=1", "--mixed")

    # When
    end, kills = time.monotonic() + lasting, 0
    while time.monotonic() < end:
        pause = time.monotonic() + world.random.uniform(0.5, 1.5)
        world.until(lambda pause=pause: time.monotonic() > pause, 5, "the next kill")
        world.kill(world.random.choice(world.kept()).pid)
        kills += 1
    caller.finish()

    # Then
    world.drain()
    verdict = world.check()
    figures.record("calls", verdict.calls)
    figures.record("kills", kills)
    figures.record("executions", verdict.executions)
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    figures.exactly("run again without a reason", len(verdict.unexcused), 0)
    recoveries = world.recoveries()
    figures.at_least("tasks that lost their worker", len(recoveries), 1)
    figures.at_most("recovered after p99", quantile(recoveries, 0.99), 1.5, "s")
    assert verdict.violations == []


@pytest.mark.fault(3)
def test_a_worker_does_not_outlive_its_guard_and_both_are_replaced(world, figures):
    # Given
    site = world.site()
    worker, guard = site.worker(), site.guard()
    id = world.call(tasks.note, 1.0)
    world.wait_for_start(id)

    # When
    world.ledger.write("fault", pid=worker, action="kill")
    began = time.monotonic()
    psutil.Process(guard).kill()

    # Then
    wait_until(lambda: not processes.is_alive(worker), 5, "the end of the worker")
    figures.at_most("worker gone after", time.monotonic() - began, 0.5, "s")
    wait_until(lambda: site.guard() not in (None, guard), 5, "another guard")
    figures.at_most("another guard after", time.monotonic() - began, 1.0, "s")
    world.wait_for(id)
    assert world.check().violations == []


@pytest.mark.fault(5)
def test_the_tasks_of_a_host_that_is_gone_are_run_elsewhere_when_the_lease_is_over(world, figures):
    """The other host is one whose worker cannot look up the processes of the first."""
    # Given: default settings
    world.settings = {}
    near = world.worker(options={"SHUTDOWN_GRACE": 1})
    ids = world.call_many(tasks.wait_for, [(str(world.folder / "go"),)] * 3)
    wait_until(lambda: len(world.events("start")) == 3, START, "the start of the tasks")
    far = world.worker(**other_host(world))

    # When
    world.kill(near.pid)
    killed = time.monotonic()
    (world.folder / "go").touch()

    # Then
    for id in ids:
        world.wait_for(id, 45)
    figures.at_most("run elsewhere after", time.monotonic() - killed, 35.0, "s")
    assert {event.pid for event in world.events("start")} == {near.pid, far.pid}
    assert world.check().violations == []


def other_host(world):
    """Return options to start a worker that believes it is on another host."""
    home = world.folder / "elsewhere"
    home.mkdir(exist_ok=True)
    (home / "sitecustomize.py").write_text('import socket\nsocket.gethostname = lambda: "another-host"\n')
    return {"PYTHONPATH": f"{home}:{processes.__file__.partition('/tests/')[0]}"}


@pytest.mark.fault(9)
def test_a_worker_that_is_stuck_in_c_ends_with_its_django_process(world, figures):
    # Given
    site = world.site()
    worker, guard = site.worker(), site.guard()
    world.wait_for_start(world.call(tasks.hold_the_gil))

    # When
    world.kill(site.pid)

    # Then
    grace = world.settings["SHUTDOWN_GRACE"]
    seconds = _seconds_until(lambda: not processes.is_alive(worker) and not processes.is_alive(guard))
    figures.at_most("all gone after the grace and", seconds - grace, 1.0, "s")


def _seconds_until(condition, seconds=30):
    began = time.monotonic()
    wait_until(condition, seconds)
    return time.monotonic() - began


@pytest.mark.fault(12)
def test_a_task_that_takes_all_memory_costs_itself_and_not_the_worker(world, figures):
    # Given
    worker = world.worker("--threads=2")
    used = psutil.Process(worker.pid).memory_info().vms
    psutil.Process(worker.pid).rlimit(psutil.RLIMIT_AS, (used + 2**28, used + 2**28))

    # When
    greedy = world.call(tasks.take_memory)
    task = world.wait_for(greedy, state=State.ERROR)

    # Then
    next_one = world.call(tasks.note)
    figures.at_most("next task done after", _seconds_until(lambda: world.ended(next_one)), 3.0, "s")
    assert "MemoryError" in task.error_message
    assert not worker.has_ended()
    world.drain()
    assert world.check().lost == []


@pytest.mark.fault(13)
def test_a_poison_task_fails_and_harms_no_other(world, figures):
    # Given
    innocents = world.call_many(tasks.note, [(0.2,)] * 10)
    poison = world.call(tasks.kill_the_worker)
    innocents += world.call_many(tasks.note, [(0.2,)] * 10)

    # When
    world.keep(2)

    # Then
    ended = world.wait_for(poison, 60, State.ERROR)
    figures.exactly("deaths under the poison task", ended.lost, 3)
    assert ended.error_message.startswith("killed its worker 3 times")
    world.drain()
    found = [world.task(id) for id in innocents]
    figures.exactly("innocents done", sum(task.state is State.DONE for task in found), 20)
    figures.at_most("deaths under an innocent task", max(task.lost for task in found), 1)


@pytest.mark.parametrize(
    "how, status",
    [
        pytest.param("_exit", "exit status 0", marks=pytest.mark.fault(14, quick=True)),
        pytest.param("segfault", "signal 11 (SIGSEGV)", marks=pytest.mark.fault(14)),
    ],
)
def test_a_task_that_ends_the_process_is_lost_with_its_status_and_the_next_one_runs(world, figures, how, status):
    # Given
    site = world.site()

    # When
    id = world.call(tasks.end_the_process, how)

    # Then
    task = world.wait_for(id, 60, State.ERROR)
    assert task.lost == 3
    attempts = read.attempts(world.database, task.id)
    figures.at_least("deaths with a known exit status", sum(a.error_message == status for a in attempts), 1)
    world.wait_for(world.call(tasks.note), 60)
    assert not site.has_ended()


@pytest.mark.fault(14, quick=True)
def test_a_task_that_exits_fails_and_the_worker_continues(world):
    worker = world.worker()
    task = world.wait_for(world.call(tasks.end_the_process, "exit"), state=State.ERROR)
    assert task.error_message == "SystemExit: 3"
    world.wait_for(world.call(tasks.note))
    assert not worker.has_ended()


BROKEN = """
import os
from pathlib import Path

if "AUTOTASK_GUARD" in os.environ and not Path(__file__).with_name("healed").exists():
    raise RuntimeError("this worker is broken")
"""


@pytest.mark.fault(15)
def test_a_worker_that_cannot_start_is_tried_rarely_and_works_when_it_can(world, figures, lasting):
    # Given
    app = world.folder / "broken"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "tasks.py").write_text(BROKEN)
    path = f"{world.folder}:{processes.__file__.partition('/tests/')[0]}"

    # When
    site = world.caller("--companion", "--rate=5", FAULTS_APPS="broken", PYTHONPATH=path)
    time.sleep(lasting)

    # Then
    lines = site.output().splitlines()
    figures.at_most("starts", sum("the worker failed" in line for line in lines), 10)
    figures.at_most("log lines without the traceback", sum("guard of" in line for line in lines), 20)
    assert not site.has_ended()

    # When
    (app / "healed").touch()
    healed = time.monotonic()

    # Then
    world.companion(site, seconds=60)
    figures.at_most("works again after", time.monotonic() - healed, 35.0, "s")
    site.finish()


@pytest.mark.fault(15)
def test_a_worker_waits_for_the_tables_without_crashing(own_server, make_world, figures):
    # Given: a database without tables
    server = own_server()
    world = make_world(server)
    server.sql(f"DROP DATABASE {world.name}")
    server.sql(f"CREATE DATABASE {world.name}")
    worker = world.worker(ready=False)
    wait_until(lambda: "Waiting for the tables" in worker.output(), START, "a word about the tables")

    # When
    migration = world.start("-m", "django", "migrate", "--verbosity=0")
    assert migration.wait(60) == 0

    # Then
    migrated = time.monotonic()
    wait_until(lambda: world.identity(worker.pid), START, "the worker")
    figures.at_most("works after the migration and", time.monotonic() - migrated, 5.0, "s")
    figures.exactly("log lines about it", worker.output().count("Waiting for the tables"), 1)
    worker.signal(signal.SIGTERM)
    assert worker.wait(20) == 0
