"""A dedicated worker that follows changes of its code."""

import re
import time

import pytest

from tests.acceptance import processes
from tests.helpers import LONG, wait_until

TASKS = """
from autotask.tasks import delayed_task

@delayed_task
def answer():
    return {answer!r}
"""

#: Seconds between a change and a worker that has it: the code is looked at once a second, and Django has to start;
#: more where tests share a machine.
SOON = 5 if LONG else 20

STARTED = r"worker (\d+) started"


@pytest.fixture
def tasks(site):
    """The module of tasks that is changed while the worker runs."""
    return site.app("changing", tasks=TASKS.format(answer="first")) / "tasks.py"


def started(worker):
    return [int(line[1]) for line in worker.lines(STARTED)]


def call(site, function="changing.tasks.answer", *arguments):
    module, _, name = function.rpartition(".")
    code = f"from {module} import {name}; print('called', {name}(*{arguments!r}).id)"
    return re.search(r"called (\S+)", site.manage("shell", "-c", code))[1]


def change(worker, tasks, text):
    """Change the tasks, and wait until the worker has seen it."""
    assert len(text) != tasks.stat().st_size
    seen = len(worker.lines("The code has changed"))
    tasks.write_text(text)
    began = time.monotonic()
    # Again and again, because what is changed before the first look of a new process is not seen as a change.
    wait_until(lambda: tasks.touch() or len(worker.lines("The code has changed")) > seen, SOON, "the change")
    return began


def test_a_change_brings_new_code_at_once_and_what_runs_comes_to_its_end(site, tasks, tmp_path):
    # Given a worker with a task that takes its time
    worker = site.worker("--reload", SHUTDOWN_GRACE=60)
    [old] = wait_until(lambda: started(worker), what="a worker")
    assert site.result(site.wait_for_end(call(site))) == "first"
    end = tmp_path / "end"
    long = call(site, "tests.acceptance.app.tasks.wait_for", str(end))
    wait_until(lambda: site.task(long).worker_id, what="the start of the long task")

    # When
    change(worker, tasks, TASKS.format(answer="second one"))

    # Then
    wait_until(lambda: len(started(worker)) == 2, SOON, "the next worker")
    assert processes.is_alive(old)
    assert site.result(site.wait_for_end(call(site))) == "second one"
    end.touch()
    assert site.wait_for_end(long).attempt == 1
    wait_until(lambda: not processes.is_alive(old), SOON, "the end of the old worker")

    # When the code is broken, and mended
    change(worker, tasks, "def answer(:\n")
    wait_until(lambda: len(worker.lines("SyntaxError")) >= 3, SOON, "some tries")
    tasks.write_text(TASKS.format(answer="mended"))

    # Then it need not wait for the next try
    wait_until(lambda: tasks.touch() or len(started(worker)) >= 3, SOON, "a worker with the mended code")
    assert site.result(site.wait_for_end(call(site))) == "mended"
    worker.process.terminate()
    assert worker.wait(10) == 0
