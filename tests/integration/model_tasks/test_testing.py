"""Model tasks with the tools for tests, and without workers."""

import gc

import pytest

from autotask.exceptions import TaskExpired
from autotask.models import Task
from autotask.testing import captured_tasks, immediate
from tests.integration.model_tasks.models import HelloTask, LimitedTask, RemoteTask, StepTask

pytestmark = pytest.mark.usefixtures("model_tables")


@pytest.mark.parametrize(("model", "number"), [(HelloTask, 1), (StepTask, 1), (LimitedTask, 1), (RemoteTask, 2)])
def test_rows_run_at_once(model, number):
    with immediate():
        row = model.objects.create()
    row.refresh_from_db()

    assert row.success is True
    assert row.handle.status == "done"


@pytest.mark.parametrize("name", ["IS_ACTIVE", "IMMEDIATE"])
def test_python_searches_for_garbage_while_the_steps_of_many_rows_run_in_place(name, settings, monkeypatch):
    # Given
    setattr(settings, f"AUTOTASK_{name}", name != "IS_ACTIVE")
    searches = []
    monkeypatch.setattr(HelloTask, "do_task_main", lambda row, payload: searches.append(gc.isenabled()))
    # When
    HelloTask.objects.bulk_create([HelloTask(name="x"), HelloTask(name="y")])
    # Then
    assert searches == [True, True]


def test_captured_rows_are_run_when_the_test_says_so():
    with captured_tasks() as tasks:
        rows = StepTask.objects.bulk_create([StepTask(), StepTask(acts={"2": "fail once"})])
        tasks.assert_enqueued("model_tasks.steptask")
        assert [call.args for call in tasks] == [(row,) for row in rows]
        tasks.run_pending()

    assert [row.lines for row in StepTask.objects.order_by("pk")] == ["1 2 3 ", "1 2 2 3 "]
    assert StepTask.objects.filter(success=True).count() == 2


def test_without_autotask_a_row_runs_in_place(settings):
    settings.AUTOTASK_IS_ACTIVE = False
    row = StepTask.objects.create()

    assert (row.lines, row.success, row.current_step) == ("1 2 3 ", True, 3)
    row.refresh_from_db()
    assert row.result == {"number": "3", "step": 3}
    assert Task.objects.count() == 0
    with pytest.raises(TaskExpired):
        _ = row.handle
    with pytest.raises(ValueError, match="step 2 went wrong"):
        StepTask.objects.create(acts={"2": "raise"})
    assert StepTask.objects.count() == 1
