"""``manage.py autotask run``: delayed tasks with their arguments, beside schedules."""

import re

import pytest

from autotask.handle import TaskHandle
from autotask.management.console import Console
from autotask.management.subcommands import run_now
from autotask.task import DONE, WAITING
from tests.integration.commands.command import manage
from tests.integration.commands.tasks import add, hold, misbehave

pytestmark = pytest.mark.django_db(transaction=True)


def handles(shown):
    return [TaskHandle(id) for id in re.findall(r"is enqueued as (\S+)\n", shown.out)]


@pytest.mark.parametrize("arguments", ['{"x": 2, "y": 3}', "[2, 3]", ' {"y": 3, "x": 2}'])
def test_a_delayed_task_is_called_with_its_arguments_and_its_result_shown(start_worker, arguments):
    start_worker()
    shown = manage("run", add.name, arguments, "--wait")
    assert shown.code == 0, shown.err
    [handle] = handles(shown)
    assert (handle.status, handle.result) == (DONE, 5)
    assert shown.out.endswith(f"{handle.id} is done, result=5\n")


def test_several_are_called_and_none_is_waited_for():
    shown = manage("run", add.name, "[1, 2]", hold.name, add.name, '{"x": 1, "y": 2}')
    assert shown.code == 0, shown.err
    assert [handle.status for handle in handles(shown)] == [WAITING] * 3


def test_whoever_waits_without_a_worker_is_told_so(monkeypatch, start_worker):
    monkeypatch.setattr(run_now, "PATIENCE", 0.1)
    told = []
    monkeypatch.setattr(Console, "complain", lambda self, *lines: (told.extend(lines), start_worker()))
    shown = manage("run", add.name, "[2, 3]", "--wait")
    assert shown.out.endswith("is done, result=5\n")
    assert re.search(r"it is waiting\. No worker is alive\. Start .*: python manage\.py autotask worker", told[0])


def test_the_end_of_a_task_that_fails_is_the_end_of_the_command(start_worker):
    start_worker()
    shown = manage("run", misbehave.name, "--wait")
    assert shown.code == 1 and "ended in an error: ValueError: " in shown.err


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ((add.name, "{x: 1}"), 2, "The arguments of .* are not JSON: "),
        pytest.param((add.name, "[" * 100_000), 2, "The arguments of .* are not JSON: ", id="too deep"),
        ((add.name, '{"x": 1}'), 2, "y: "),
        ((add.name, "[1]"), 2, "missing a required argument: 'y'"),
        (("[1]",), 2, "follows no name of a task"),
        ((add.name, "[1, 2]", "[3]"), 2, "follows no name of a task"),
        ((add.name, "1", "2"), 2, r"'1' is not the name of a task\. .* one JSON array"),
        (("shop.add",), 4, f"no schedule or task .*did you mean '{add.name}'"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_reason(words, code, error):
    shown = manage("run", *words)
    assert shown.code == code and re.search(error, shown.err), shown.err
    assert handles(shown) == []


def test_a_mistyped_name_of_a_task_is_guessed():
    wrong = "shop.add"  # People remember the last part.
    assert f"No tasks match (did you mean '{add.name}'?)." in manage("list", "--name", wrong).err
    assert f"(did you mean '{add.name}'?)" in manage("stats", "--task", wrong).out
    assert manage("list", "--name", add.name).err == "No tasks match.\n"


def test_a_worker_for_a_queue_that_no_task_has_says_so(monkeypatch):
    monkeypatch.setattr("autotask.management.subcommands.worker.run_worker", lambda options: 0)
    assert manage("worker", "--queues", "baad,default").err == (
        "No task in the code has the queue 'baad' (did you mean 'bad'?). It is served all the same.\n"
    )
