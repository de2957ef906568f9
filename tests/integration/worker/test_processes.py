"""Tasks in child processes: killed when need be, and when they crash, alone."""

import os
import signal
import sys
import time

import psutil
import pytest

from autotask.store import read
from autotask.store.connection import current
from autotask.task import CANCELLED, DONE, ERROR, PROCESS, WAITING, State
from autotask.worker import pools, watch
from autotask.worker.pools.children import Child
from tests.helpers import ended, wait_until
from tests.integration.worker import stubborn, tasks
from tests.integration.worker.stubborn import began, pids

pytestmark = pytest.mark.django_db(transaction=True)


def children():
    return {child.pid for child in psutil.Process().children() if "autotask.worker.child" in child.cmdline()}


def test_a_process_is_started_when_it_is_needed_and_used_again(start_worker):
    # Given
    start_worker(processes=1)
    assert tasks.echo(1).wait(10) == 1
    assert children() == set()

    # When
    first, second = stubborn.process_id().wait(20), stubborn.process_id().wait(20)

    # Then
    assert first == second != os.getpid()
    assert children() == {first}


def test_no_process_is_left_when_the_worker_has_ended(start_worker):
    worker = start_worker(processes=2)
    pid = stubborn.process_id().wait(20)
    worker.stop()
    wait_until(lambda: not psutil.pid_exists(pid), what="the end of the process")
    assert children() == set()


def test_the_exception_of_a_task_in_a_process_is_recorded_with_its_traceback(start_worker):
    start_worker(processes=1)
    handle = stubborn.fail_in_process()
    assert ended(handle) is ERROR
    assert handle.error_message == "KeyError: 'gone'"
    assert [attempt.state for attempt in handle.failed_attempts] == [State.RETRY, State.ERROR]
    assert "in fail_in_process" in handle.failed_attempts[0].traceback


def test_a_coroutine_function_can_run_in_a_process(start_worker):
    start_worker(processes=1)
    assert stubborn.double_in_process(4).wait(20) == 8


def test_a_process_whose_task_takes_too_long_is_killed_and_no_other(start_worker, path):
    # Given
    start_worker(processes=2)
    sibling = stubborn.stay_in_process(str(path) + " of the sibling", str(path) + " end")
    wait_until(lambda: began(path.with_name("lines of the sibling")), what="the start of the sibling")

    # Then
    for number, task in enumerate((stubborn.spin_in_process, stubborn.hold_the_interpreter)):
        handle = task.using(timeout=1)(str(path))
        assert ended(handle) is ERROR
        assert handle.error_message == "timed out after 1 s"
        assert not psutil.pid_exists(pids(path)[number])
    path.with_name("lines end").touch()
    assert sibling.wait(20) == "stayed"
    assert sibling.attempts == 1


def test_a_call_of_c_in_a_process_is_killed_on_request(start_worker, path):
    # Given
    start_worker(processes=1)
    handle = stubborn.sleep_in_process.using(retries=3)(str(path), 60)
    wait_until(lambda: began(path))

    # When
    handle.cancel()

    # Then
    assert ended(handle) is CANCELLED
    assert handle.attempts == 1
    assert stubborn.process_id().wait(20) != pids(path)[0]


def test_a_task_in_a_process_is_asked_to_stop_before_it_is_killed_and_tells_its_progress(start_worker, path):
    # Given
    start_worker(processes=1)
    handle = stubborn.ask_in_process(str(path))
    wait_until(lambda: handle.progress and handle.progress.done > 1, what="news of the progress")
    assert handle.progress.total == 1000

    # When
    handle.cancel()

    # Then
    ended(handle)
    assert stubborn.lines(path)[1:] == ["it was cancelled"]
    assert stubborn.process_id().wait(20) == pids(path)[0]


@pytest.mark.parametrize(
    ("task", "arguments", "how"),
    [
        (stubborn.segfault, (), "signal 11 (SIGSEGV)"),
        (stubborn.exit_hard, (0,), "exit status 0"),
        (stubborn.fork_and_die, (), "exit status 1"),
    ],
    ids=["segfault", "os._exit(0)", "fork"],
)
def test_a_crash_costs_only_its_own_task(start_worker, path, settings, task, arguments, how):
    # Given
    settings.AUTOTASK_MAX_CRASHES = 2
    start_worker(processes=2)
    siblings = [
        stubborn.stay_in_process(str(path) + " of the sibling", str(path) + " end"),
        tasks.pass_gate(str(path)),
    ]
    assert tasks.gate(f"{path} reached").wait(10)

    # When
    handle = task(str(path), *arguments)

    # Then
    assert ended(handle) is ERROR
    assert handle.error_message == f"killed its process 2 times: {how}"
    assert [(a.state, a.error_message) for a in handle.failed_attempts] == [(State.LOST, how), (State.LOST, how)]
    assert len(set(pids(path))) == 2
    tasks.gate(str(path)).set()
    path.with_name("lines end").touch()
    assert [sibling.wait(20) for sibling in siblings] == ["stayed", str(path)]
    assert {sibling.attempts for sibling in siblings} == {1}
    assert len(read.workers(current())) == 1


def test_a_task_whose_process_was_killed_runs_again_without_spending_a_retry(start_worker, path):
    start_worker(processes=1)
    handle = stubborn.die_once(str(path))
    assert handle.wait(20) == "second time"
    assert handle.attempts == 2


def test_a_task_that_may_run_once_only_is_not_run_again_when_its_process_dies(start_worker, path):
    start_worker(processes=1)
    handle = stubborn.die_at_most_once(str(path))
    assert ended(handle) is ERROR
    assert handle.error_message == "its process died: signal 9 (SIGKILL); at_most_once: it is not run again"
    assert len(pids(path)) == 1


def test_a_process_that_died_while_idle_is_nobodys_fault(start_worker):
    # Given
    start_worker(processes=1)
    first = stubborn.process_id().wait(20)

    # When
    os.kill(first, signal.SIGKILL)
    handle = stubborn.process_id()

    # Then
    assert handle.wait(20) != first
    assert handle.attempts == 1


def test_full_processes_hold_up_nothing_else(start_worker, path):
    # Given: more tasks for processes than there are, before all others
    start_worker(processes=1)
    busy = stubborn.sleep_in_process.using(priority=50).enqueue_many([(str(path), 60)] * 200)
    wait_until(lambda: began(path))

    # When
    others = [*tasks.echo.enqueue_many([(i,) for i in range(50)]), *(tasks.double(i) for i in range(5))]

    # Then
    for handle in others:
        handle.wait(10)
    assert [handle.status for handle in busy].count(WAITING) == 199


def test_a_worker_without_processes_leaves_their_tasks_to_others(start_worker):
    # Given
    start_worker(processes=0)
    handle = stubborn.process_id()
    assert tasks.echo(1).wait(10) == 1
    assert handle.status is WAITING

    # When
    start_worker(processes=1)

    # Then
    assert ended(handle) is DONE


def test_a_task_that_runs_in_a_process_when_the_grace_is_over_is_killed_and_released(start_worker, path, settings):
    # Given
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.3
    worker = start_worker(processes=1)
    handle = stubborn.sleep_in_process(str(path), 60)
    wait_until(lambda: began(path))

    # When
    worker.stop()

    # Then
    wait_until(lambda: handle.status is WAITING)
    assert handle.attempts == 0
    wait_until(lambda: not psutil.pid_exists(pids(path)[0]), what="the end of the process")


def test_a_child_bears_the_signals_of_a_terminal_and_of_a_service_manager(start_worker, path):
    # Given
    start_worker(processes=1)
    handle = stubborn.stay_in_process(str(path), str(path) + " end")
    wait_until(lambda: began(path))

    # When
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.kill(pids(path)[0], signum)

    # Then
    path.with_name("lines end").touch()
    assert handle.wait(20) == "stayed"
    ignored = int(stubborn.signals_of_a_program().wait(20).split()[1], 16)
    assert not ignored & (1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1)


def test_a_process_that_does_not_die_costs_the_pool_no_place(start_worker, path, monkeypatch):
    # Given: as if the kernel held it
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.3)
    kill = Child.kill
    monkeypatch.setattr(Child, "kill", lambda child: None)
    worker = start_worker(processes=1)

    # When
    handle = stubborn.sleep_in_process.using(timeout=1)(str(path), 60.0)

    # Then
    assert ended(handle) is ERROR
    assert stubborn.process_id().wait(20) not in pids(path)
    pool = worker.pools[PROCESS]
    wait_until(lambda: pool.outstanding() == 0)
    assert worker.exit_status == 0

    # When it dies after all
    monkeypatch.setattr(Child, "kill", kill)
    os.kill(pids(path)[0], signal.SIGKILL)

    # Then
    assert stubborn.process_id().wait(20)
    assert pool.outstanding() == 0 and worker.recorder.refused == 0


class Customer:
    """Keeps the ends of its items."""

    def __init__(self):
        self.ends = []

    def job(self, record):
        return record

    def received(self, record, message):
        raise AssertionError("a child that does not begin has nothing to say")

    def ended(self, record, began, end):
        self.ends.append(end)


def test_a_process_that_does_not_begin_is_killed_and_tried_again_some_times(monkeypatch):
    # Given: as if django.setup() waited for something for ever
    monkeypatch.setattr(pools.processes, "STARTS_WITHIN", 0.3)
    customer = Customer()
    pool = pools.processes.ProcessPool(1, "tests.integration.worker.sleeper", customer, lambda: None)

    # When
    pool.submit("job")

    # Then
    wait_until(lambda: customer.ends, what="the end of the tries")
    assert customer.ends == [pools.processes.NoChild("had not begun after 0.3 s")]
    assert pool.outstanding() == 0
    assert not [child for child in psutil.Process().children() if "tests.integration.worker.sleeper" in child.cmdline()]


def test_the_time_that_a_process_takes_to_start_does_not_count(start_worker, monkeypatch, tmp_path):
    # Given: processes that take longer than the limit to start
    (tmp_path / "sitecustomize.py").write_text("import time\n\ntime.sleep(1.2)\n")
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])  # which is handed on to them
    start_worker(processes=1)

    # When
    began_at = time.monotonic()
    handle = stubborn.process_id.using(timeout=1)()

    # Then
    assert ended(handle) is DONE
    assert time.monotonic() - began_at > 1


def test_changes_of_a_task_to_its_process_are_undone_before_the_next_one(start_worker, tmp_path):
    # Given
    start_worker(processes=1)
    before = stubborn.look_at_the_process(0.0).wait(20)

    # When
    pid = stubborn.change_the_process(str(tmp_path)).wait(20)

    # Then
    handle = stubborn.look_at_the_process(0.6)
    assert handle.wait(20) == before
    assert (before["pid"], handle.attempts) == (pid, 1)
