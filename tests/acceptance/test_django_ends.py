"""However a Django process ends, its companion ends with it, and what it was doing is not lost."""

import signal

import psutil
import pytest

from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.site import START
from tests.helpers import LONG, wait_until


@pytest.fixture
def diary(tmp_path):
    """A file to which tasks write when they start and end."""
    path = tmp_path / "diary"
    path.touch()
    return path


def started(diary, times=1):
    return lambda: diary.read_text().count("started") == times


@pytest.mark.parametrize("options", [(), ("--noreload",)] if LONG else [()], ids=" ".join)
def test_a_companion_goes_with_a_django_process_that_is_killed(site, options):
    # Given
    server = site.runserver(*options)
    companion = site.companion(server)

    # When
    psutil.Process(companion.django).kill()

    # Then
    site.wait_until_gone()
    assert server.wait(10) != 0


def test_the_companion_stays_as_long_as_the_process_that_serves(site):
    # Given
    server = site.runserver()
    companion = site.companion(server)
    assert companion.django != server.pid

    # When the parent, which only reloads, is killed, the child that serves is not
    server.process.kill()
    server.wait(10)

    # Then
    task = server.call("who")
    site.wait_for_end(task)
    assert site.companions() == [companion]

    # When
    psutil.Process(companion.django).kill()

    # Then
    site.wait_until_gone()


#: Kinds of servers, and how they are stopped; without the time for all, each kind and each signal once.
STOPPED = [
    *(("runserver", "SIGINT"), ("runserver --noreload", "SIGTERM"), ("gunicorn", "SIGTERM")),
    *((("runserver", "SIGTERM"), ("runserver --noreload", "SIGINT"), ("gunicorn", "SIGINT")) if LONG else ()),
]


@pytest.mark.parametrize("kind, name", STOPPED)
def test_a_server_that_is_stopped_ends_once_and_takes_its_companion_along(site, kind, name):
    # Given
    server = site.gunicorn() if kind == "gunicorn" else site.runserver(*kind.split()[1:])
    count = 2 if kind == "gunicorn" else 1
    companions = wait_until(lambda: len(site.companions()) == count and site.companions(), START, "the companions")

    # When
    server.signal_group(signal.Signals[name])

    # Then
    server.wait(10)
    site.wait_until_gone()
    assert "Traceback" not in server.output()
    for companion in companions:
        assert len(server.lines(f"worker {companion.worker} stopped")) == 1
    assert site.registered() == []


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_short_task_finishes_within_the_grace_and_a_long_one_is_given_back(site, tmp_path, diary, signum):
    # Given
    server = site.runserver("--noreload")
    site.companion(server)
    other = tmp_path / "other"
    other.touch()
    short, long = server.call("work", 1.0, str(diary)), server.call("work", 60, str(other))
    wait_until(lambda: started(diary)() and started(other)(), what="the start of the tasks")

    # When
    server.signal_group(signum)

    # Then
    server.wait(10)
    site.wait_until_gone()
    assert site.task(short).state is State.DONE
    assert diary.read_text().split() == ["started", "finished"]
    task = site.task(long)
    assert (task.state, task.attempt, task.lost, task.failures, task.worker_id) == (State.READY, 0, 0, 0, None)
    assert site.registered() == []
    assert server.lines(rf"work {long} does not stop; it is released")


def test_a_worker_that_holds_the_interpreter_lock_is_killed_when_the_grace_is_over(site, diary):
    # Given
    server = site.runserver("--noreload")
    site.companion(server)
    id = server.call("hold_the_gil", str(diary))
    wait_until(started(diary), what="the start of the task")

    # When
    server.process.kill()

    # Then
    site.wait_until_gone()
    assert site.task(id).state is State.RUNNING  # until the next worker finds that its worker is gone


@pytest.mark.skipif(not LONG, reason="like one that holds the interpreter lock, of which there is a test")
def test_a_worker_that_stands_still_is_killed_when_the_grace_is_over(site):
    # Given
    server = site.runserver("--noreload")
    worker = psutil.Process(site.companion(server).worker)
    worker.suspend()

    # When
    server.process.kill()

    # Then
    site.wait_until_gone()


def test_a_fork_that_outlives_its_django_process_does_not_keep_the_companion(site):
    # Given
    program = site.script(
        "import autotask.companion, django, multiprocessing, time\n"
        "django.setup()\n"
        "autotask.companion.start()\n"
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "child.start()\n"
        "print('fork:', child.pid)\n"
        "time.sleep(60)\n"
    )
    [companion] = wait_until(site.companions, START, "the companion")
    [fork] = wait_until(lambda: program.lines(r"fork: (\d+)\n"), START, "the fork")

    # When
    program.process.kill()
    program.wait(10)

    # Then
    wait_until(
        lambda: not processes.is_alive(companion.guard) and not processes.is_alive(companion.worker),
        1.5 if LONG else START,
        "the end of the companion",
    )
    assert [process.pid for process in site.processes()] == [int(fork[1])]
