"""Workers are killed inside of steps and between them: steps that have ended are not run again, and all rows are done."""

import itertools
import random
import sys

import pytest

from autotask.acts import pausing
from autotask.models import Step
from autotask.store import read
from autotask.store.connection import current
from tests.helpers import LONG, ROOT, environment, patient, wait_until
from tests.integration.model_tasks.models import AsyncTask, ProcessTask, StepTask
from tests.integration.model_tasks.test_rows import done
from tests.programs import Program

pytestmark = pytest.mark.usefixtures("model_tables")


@pytest.fixture
def start(transactional_db, model_tables, tmp_path):
    """Start a worker in a process of its own, and return when it is ready."""
    started = []

    def one():
        words = [sys.executable, "-m", "django", "autotask", "worker"]
        settings = environment(DJANGO_SETTINGS_MODULE="tests.integration.model_tasks.settings", DEBUG="false")
        program = Program(words, settings, tmp_path, cwd=ROOT / "testproject")
        started.append(program)
        wait_until(lambda: is_ready(program), what="the worker")
        return program

    def is_ready(program):
        assert not program.has_ended(), program.output()
        return program.pid in {worker.pid for worker in read.workers(current())}

    yield one
    for program in started:
        program.kill()
        program.wait()


def test_a_worker_that_dies_in_a_step(start):
    start()
    for number, lines in {"1": "1 1 2 3 ", "2": "1 2 2 3 ", "3": "1 2 3 3 "}.items():
        start()  # in place of the one that has died
        row = StepTask.objects.create(acts={number: "die once"})

        done(row, 40)
        assert (row.lines, row.success) == (lines, True)
        assert sorted(row.step_times) == ["1", "2", "3"]


def test_a_worker_that_dies_between_two_steps(start):
    worker = start()
    row = StepTask.objects.create(acts={"seconds": patient(0.5)})
    wait_until(lambda: StepTask.objects.get(pk=row.pk).lines, patient(20), "step 1")
    pausing.pause(task=StepTask._meta.label_lower)  # so that step 2 does not begin
    wait_until(lambda: StepTask.objects.get(pk=row.pk).current_step == 2, patient(20), "the end of step 1")
    worker.kill()
    start()
    assert StepTask.objects.get(pk=row.pk).lines == "1 "
    pausing.resume(task=StepTask._meta.label_lower)

    done(row, 40)
    assert (row.lines, row.success, row.current_step) == ("1 2 3 ", True, 3)


def test_steps_run_in_child_processes_and_as_coroutines(start):
    worker = start()
    row, other = ProcessTask.objects.create(), AsyncTask.objects.create()

    done(row, 40)
    assert (row.said, row.error_message, row.success, row.current_step) == ("1 1 ", "", True, 2)
    assert row.result["pid"] != worker.pid
    assert row.handle.failed_attempts[0].error_message == "ValueError: once"
    done(other, 40)
    assert (other.said, other.success) == ("1 ", True)
    assert other.result == {"pid": worker.pid}


def test_workers_that_die_at_any_moment(start):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    rows = StepTask.objects.bulk_create([StepTask(acts={"seconds": 0.05}) for _ in range(100 if LONG else 30)])

    workers = [start(), start()]
    for kill in itertools.count():
        if not StepTask.objects.filter(done_time=None).exists():
            break
        assert kill < 40, "so many deaths, and still there are rows that are not done"
        before = Step.objects.count()
        reached = before + moments.randint(0, 8)
        wait_until(lambda: Step.objects.count() >= reached or not unfinished(), patient(40), "more steps")  # noqa: B023
        workers.pop(0).kill()
        workers.append(start())

    for row in rows:
        done(row, 40)
        steps = row.lines.split()
        assert steps == sorted(steps), f"a step that had ended was run again: {row.lines}"
        assert set(steps) == {"1", "2", "3"}
        assert (row.success, row.current_step) == (True, 3)


def unfinished():
    return StepTask.objects.filter(done_time=None).exists()
