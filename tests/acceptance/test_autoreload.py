"""A change of the code brings a worker with the new code, and one only."""

import time
import urllib.error

import pytest

from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.kinds import RELOADING
from tests.acceptance.site import START
from tests.helpers import LONG, wait_until

TASKS = """
from autotask.tasks import delayed_task

@delayed_task
def answer():
    return {answer!r}
"""

#: Seconds between a change and a worker that has it: runserver looks once a second; more where tests share a machine.
SOON = 6 if LONG else 20


#: Servers that reload.
pytestmark = pytest.mark.parametrize(
    "kind", RELOADING if LONG else RELOADING[:1], indirect=True, ids=lambda kind: kind.name
)


@pytest.fixture
def tasks(site):
    """The module of tasks that is changed while the server runs."""
    return site.app("changing", tasks=TASKS.format(answer="first")) / "tasks.py"


def change(server, tasks, text):
    """Change the tasks, and wait until runserver has seen it and has ended the process with the old code."""
    # A file of the same size, changed within the same second, would look unchanged to Python's cache of bytecode.
    assert len(text) != tasks.stat().st_size
    old = processes.children(server.pid)
    written = time.monotonic()
    tasks.write_text(text)

    def reloaded():
        # Again, because what is changed before the first look of a new process is not seen as a change; but not at
        # once, because some reloaders wait for the end of a series of changes.
        if time.monotonic() > written + 1.2:
            tasks.touch()
        return not old & processes.children(server.pid)

    wait_until(reloaded, SOON, "a reload")


def answer(site, server):
    return site.result(site.wait_for_end(server.call("changing.tasks.answer")))


def answers(site, server, expected):
    try:
        return answer(site, server) == expected
    except (ConnectionError, urllib.error.URLError):
        return False  # It is just being started anew.


def guards_of_the_living(site):
    """The guards whose Django process lives; that of one which has just ended may take a moment to follow."""
    found = site.processes()
    parents = {process.pid for process in found}
    return [process for process in found if processes.is_guard(process) and processes.parent(process) in parents]


def test_a_change_of_the_tasks_brings_a_worker_with_the_new_code(site, kind, tasks, measured):
    # Given
    server = site.serve(kind)
    old = site.companion(server)
    assert answer(site, server) == "first"

    # When
    began = time.monotonic()
    change(server, tasks, TASKS.format(answer="second one"))
    wait_until(lambda: answers(site, server, "second one"), SOON, "the new code")
    measured["reload"] = time.monotonic() - began

    # Then
    new = site.companion(server, SOON, other_than=old)
    assert new.django != old.django and new.guard != old.guard
    assert answer(site, server) == "second one"
    assert "Traceback" not in server.output()


@pytest.mark.skipif(not LONG, reason="like a single change, of which there is a test")
def test_a_storm_of_changes_leaves_one_companion(site, kind, tasks):
    # Given
    server = site.serve(kind)
    old = site.companion(server)

    # When
    for _ in range(20):
        tasks.touch()
        assert len(guards_of_the_living(site)) <= 1
        time.sleep(0.15)  # the storm lasts a few of runserver's looks

    # Then
    wait_until(lambda: not processes.is_alive(old.django), SOON, "a reload")
    change(server, tasks, TASKS.format(answer="after the storm"))
    wait_until(lambda: answers(site, server, "after the storm"), SOON, "the last code")
    wait_until(lambda: len(site.companions()) == len(site.guards()) == 1, SOON, "the end of all others")
    assert processes.zombies(server.pid) == []
    assert "Traceback" not in server.output()


def test_a_syntax_error_ends_the_companion_and_its_fix_brings_one_back(site, kind, tasks):
    # Given
    server = site.serve(kind)
    old = site.companion(server)

    # When
    change(server, tasks, "def answer(:\n")

    # Then
    wait_until(lambda: server.lines("SyntaxError"), SOON, "the error")
    wait_until(lambda: not site.guards(), SOON, "the end of the companion")

    # When
    change(server, tasks, TASKS.format(answer="fixed it"))

    # Then
    wait_until(server.answers, START, "an answer of the server")
    site.companion(server, SOON, other_than=old)
    assert answer(site, server) == "fixed it"
    wait_until(lambda: len(site.guards()) == 1, SOON, "the end of all others")


@pytest.mark.skipif(not LONG, reason="like the end of a server, of which there are tests")
def test_what_runs_at_a_change_is_finished_within_the_grace_or_given_back(site, kind, tasks, tmp_path):
    # Given
    server = site.serve(kind)
    site.companion(server)
    sign = tmp_path / "sign"
    short, long = server.call("work", 1.5, str(tmp_path / "short")), server.call("wait_for", str(sign))
    running = [State.RUNNING, State.RUNNING]
    wait_until(lambda: [site.task(id).state for id in (short, long)] == running, START, "the start of the tasks")

    # When
    change(server, tasks, TASKS.format(answer="second one"))

    # Then
    task = site.wait_for_end(short)
    assert (tmp_path / "short").read_text().split() == ["started", "finished"]
    assert (task.attempt, task.lost, task.failures) == (1, 0, 0)
    wait_until(lambda: server.lines(f"wait_for {long} .*it is released"), START, "the return of the long task")
    sign.touch()
    task = site.wait_for_end(long)
    assert (task.attempt, task.lost, task.failures) == (1, 0, 0)
