"""What is left of a companion that is killed is replaced, and the Django process never notices."""

import signal

import psutil
import pytest

from autotask.context import Progress
from autotask.store import read
from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.site import START
from tests.helpers import LONG, wait_until

#: Seconds within which a killed worker's task has started again where another worker lives already, and where not, and
#: within which a worker goes without its guard; more where tests share a machine.
BY_ANOTHER = 1.5 if LONG else START
BY_THE_NEXT = 3.0 if LONG else START
GONE = 0.5 if LONG else START


@pytest.fixture
def server(site):
    return site.runserver("--noreload")


@pytest.fixture
def diary(tmp_path):
    """A file to which tasks write when they start and end."""
    path = tmp_path / "diary"
    path.touch()
    return path


def kill(pid):
    psutil.Process(pid).send_signal(signal.SIGKILL)


def started(diary, times=1):
    return lambda: diary.read_text().count("started") == times


def test_a_killed_worker_is_replaced_and_its_task_is_run_again(site, server, diary):
    # Given
    killed = site.companion(server)
    id = server.call("work", 1.0, str(diary))
    wait_until(started(diary), what="the start of the task")

    # When
    kill(killed.worker)

    # Then
    wait_until(lambda: server.answers() and started(diary, 2)(), BY_THE_NEXT, "the second start of the task")
    companion = site.companion(server, other_than=killed)
    assert companion.guard == killed.guard
    task = site.wait_for_end(id)
    assert (task.attempt, task.lost, task.failures) == (2, 1, 0)
    assert diary.read_text().split() == ["started", "started", "finished"]
    [lost] = read.attempts(site.database, id)
    assert (lost.number, lost.state, lost.error_message) == (1, State.LOST, "signal 9 (SIGKILL)")
    assert server.lines(
        r"guard of \d+: the worker ended \(signal 9 \(SIGKILL\)\) after \d+\.\d s; the next one starts now"
    )
    assert "Traceback" not in server.output()


def test_a_task_that_kills_its_workers_ends_in_error_and_takes_no_other_along(site, server, diary):
    # Given: some tasks that run, and wait, beside it
    beside = [server.call("work", 0.3, str(diary)) for _ in range(6)]

    # When
    poison = server.call("kill_the_worker")

    # Then
    task = wait_until(lambda: site.has_ended(poison), 30, "the end of the task")
    assert (task.state, task.lost) == (State.ERROR, 3)
    assert task.error_message == "killed its worker 3 times: signal 9 (SIGKILL)"
    innocents = [site.wait_for_end(id, 30) for id in beside]
    assert {task.state for task in innocents} == {State.DONE}
    assert max(task.lost for task in innocents) <= 1


def test_a_task_that_may_run_once_only_is_not_run_again(site, server, diary):
    # Given
    id = server.call("work_once", 60, str(diary))
    wait_until(started(diary), what="the start of the task")

    # When
    kill(site.companion(server).worker)

    # Then
    task = wait_until(lambda: site.has_ended(id), what="the end of the task")
    assert (task.state, task.attempt, task.lost) == (State.ERROR, 1, 1)
    assert task.error_message == "its worker died: signal 9 (SIGKILL); at_most_once: it is not run again"
    site.wait_for_end(server.call("who"))
    assert diary.read_text().split() == ["started"]


def test_of_an_atomic_task_whose_worker_is_killed_nothing_is_left_but_that_it_is_run_again(site, server, diary):
    # Given
    id = server.call("write_and_work", str(diary))
    wait_until(started(diary), what="the start of the task")

    # When
    kill(site.companion(server).worker)

    # Then what it had enqueued the first time was never there
    task = site.wait_for_end(id)
    assert (task.state, task.attempt, task.lost) == (State.DONE, 2, 1)
    enqueued = [task for task in read.newest(site.database) if task.name.endswith("who")]
    assert len(enqueued) == 1
    assert diary.read_text().split() == ["started", "started"]


def test_a_task_in_a_process_of_its_own_can_be_atomic(site, server):
    # When
    good, bad = server.call("enqueue_in_a_process", True), server.call("enqueue_in_a_process", False)

    # Then
    task = site.wait_for_end(good)
    assert site.result(task) != site.companion(server).worker
    assert task.progress == Progress(1.0, 2.0)
    assert wait_until(lambda: site.has_ended(bad), what="the end of the task").state is State.ERROR
    enqueued = [task for task in read.newest(site.database) if task.name.endswith("who")]
    assert len(enqueued) == 1


def test_a_task_can_fork_a_process_and_end_it(site, server):
    task = site.wait_for_end(server.call("fork_and_terminate"))
    assert site.result(task) == -signal.SIGTERM


def test_what_a_task_has_left_running_ends_with_its_worker(site, server):
    # Given
    child = site.result(site.wait_for_end(server.call("leave_a_child", 600)))
    assert psutil.pid_exists(child)

    # When
    kill(site.companion(server).worker)

    # Then
    wait_until(lambda: not psutil.pid_exists(child), what="the end of the child")


def test_a_task_that_was_lost_is_back_in_the_queue_in_a_second_and_a_half(site, server, diary):
    """The bound is that of another worker, which lives already: one that starts takes its time for that as well."""
    # Given
    other = site.runserver("--noreload")
    wait_until(lambda: len(site.companions()) == 2, START, "two companions")
    id = server.call("work", 60, str(diary))
    wait_until(started(diary), what="the start of the task")
    holder = site.task(id).worker_id
    [killed] = [worker for worker in read.workers(site.database) if worker.id == holder]

    # When
    kill(killed.pid)

    # Then
    wait_until(started(diary, 2), BY_ANOTHER, "the second start of the task")
    assert server.answers() and other.answers()


def test_without_its_guard_a_worker_is_gone_at_once_and_both_are_replaced(site, server, diary):
    # Given
    killed = site.companion(server)
    id = server.call("work", 1.0, str(diary))
    wait_until(started(diary), what="the start of the task")

    # When
    kill(killed.guard)

    # Then
    wait_until(lambda: not processes.is_alive(killed.worker), GONE, "the end of the worker")
    wait_until(lambda: [guard for guard in site.guards() if guard.pid != killed.guard], 2 * GONE, "a new guard")
    assert site.companion(server, other_than=killed).guard != killed.guard
    task = site.wait_for_end(id)
    assert (task.attempt, task.lost) == (2, 1)
    assert diary.read_text().split() == ["started", "started", "finished"]
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("kind", ["runserver", "gunicorn"])
def test_a_companion_does_not_hold_the_port_of_its_server(site, kind):
    server = site.gunicorn() if kind == "gunicorn" else site.runserver("--noreload")
    companions = wait_until(site.companions, START, "a companion")

    def listening(pid):
        connections = psutil.Process(pid).net_connections("inet")
        return [connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN]

    for companion in companions:
        assert [f"http://127.0.0.1:{port}/" for port in listening(companion.django)] == [server.url]
        assert listening(companion.guard) == listening(companion.worker) == []


def test_deaths_leave_neither_files_nor_zombies_behind(site, server):
    # Given
    companion = site.companion(server)
    django = psutil.Process(server.pid)
    wait_until(lambda: not django.net_connections("inet")[1:], what="the end of all requests")
    files, threads = django.num_fds(), django.num_threads()

    # When
    for victim in ("worker", "worker", "guard", "guard", "worker") if LONG else ("worker", "guard", "worker"):
        kill(getattr(companion, victim))
        companion = site.companion(server, other_than=companion)

    # Then
    wait_until(lambda: django.num_fds() <= files and django.num_threads() <= threads, what="as many files as before")
    assert [child.pid for child in django.children(recursive=True)] == [companion.guard, companion.worker]


BROKEN = """
import os
from pathlib import Path

if "AUTOTASK_GUARD" in os.environ and not Path(__file__).with_name("healed").exists():
    raise RuntimeError("this worker is broken")
"""


def test_a_worker_that_cannot_start_is_tried_ever_more_rarely_until_it_can(site):
    # Given
    app = site.app("broken", tasks=BROKEN)
    server = site.runserver("--noreload")

    # When
    wait_until(lambda: server.answers() and server.lines("ERROR"), START, "the fifth death")

    # Then
    waits = server.lines(
        r"the worker ended \(exit status 1\) after .* s; the next one starts (?:now|in (?P<seconds>.*) s)\n"
    )
    seconds = [float(wait["seconds"] or 0) for wait in waits]
    assert seconds == [0, pytest.approx(0.5, rel=0.3), pytest.approx(1, rel=0.25), pytest.approx(2, rel=0.25)]
    [error] = server.lines(r"ERROR: the worker died (\d) times in a row, the last time: (.*); will keep trying\n")
    assert error.groups() == ("5", "exit status 1")
    assert len(server.lines("Traceback")) == 1
    assert len(server.lines(r"guard of \d+: the worker failed: RuntimeError: this worker is broken\n")) == 4

    # When
    (app / "healed").touch()

    # Then
    site.companion(server, 4 * 1.2 + BY_THE_NEXT)
    site.wait_for_end(server.call("who"))
    assert len(site.guards()) == 1
