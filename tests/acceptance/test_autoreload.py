"""A change of the code brings a worker with the new code, and one only."""

import time
import urllib.error

import pytest

from tests.acceptance import processes
from tests.acceptance.site import START
from tests.helpers import wait_until

TASKS = """
from autotask.tasks import delayed_task

@delayed_task
def answer():
    return {answer!r}
"""

#: Seconds between a change and a worker that has it: runserver looks once a second.
SOON = 6


@pytest.fixture
def tasks(site):
    """The module of tasks that is changed while the server runs."""
    return site.app("changing", tasks=TASKS.format(answer="first")) / "tasks.py"


def change(server, tasks, text):
    """Change the tasks, and wait until runserver has seen it and has ended the process with the old code."""
    # A file of the same size, changed within the same second, would look unchanged to Python's cache of bytecode.
    assert len(text) != tasks.stat().st_size
    old = processes.children(server.pid)
    tasks.write_text(text)
    # Again and again, because what is changed before the first look of a new process is not seen as a change.
    wait_until(lambda: tasks.touch() or not old & processes.children(server.pid), SOON, "a reload")


def answer(site, server):
    return site.result(site.wait_for_end(server.call("changing.tasks.answer")))


def answers(site, server, expected):
    try:
        return answer(site, server) == expected
    except (ConnectionError, urllib.error.URLError):
        return False  # It is just being started anew.


def test_a_change_of_the_tasks_brings_a_worker_with_the_new_code(site, tasks):
    # Given
    server = site.runserver()
    old = site.companion(server)
    assert answer(site, server) == "first"

    # When
    change(server, tasks, TASKS.format(answer="second one"))

    # Then
    new = site.companion(server, SOON, other_than=old)
    assert new.django != old.django and new.guard != old.guard
    assert answer(site, server) == "second one"
    assert "Traceback" not in server.output()


def test_a_storm_of_changes_leaves_one_companion(site, tasks):
    # Given
    server = site.runserver()
    old = site.companion(server)

    # When
    for _ in range(20):
        tasks.touch()
        assert len(site.guards()) <= 1
        time.sleep(0.15)  # the storm lasts a few of runserver's looks

    # Then
    wait_until(lambda: not processes.is_alive(old.django), SOON, "a reload")
    change(server, tasks, TASKS.format(answer="after the storm"))
    wait_until(lambda: answers(site, server, "after the storm"), SOON, "the last code")
    assert len(site.companions()) == len(site.guards()) == 1
    assert processes.zombies(server.pid) == []
    assert "Traceback" not in server.output()


def test_a_syntax_error_ends_the_companion_and_its_fix_brings_one_back(site, tasks):
    # Given
    server = site.runserver()
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
    assert len(site.guards()) == 1
