"""Task classes in all pools, and with the testing tools."""

import pytest
from asgiref.sync import async_to_sync

from autotask.store import read
from autotask.store.connection import current
from autotask.task import DONE, ERROR, State
from autotask.testing import captured_tasks, immediate
from tests.helpers import ended, wait_until
from tests.integration.class_tasks import classes
from tests.integration.worker.stubborn import lines

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]


@pytest.fixture(params=classes.ALL, ids=lambda cls: cls.__name__)
def there(request):
    """A class whose tasks run in one of the pools."""
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


def wait_for_lines(path, expected):
    """Wait for the lines of a task that has succeeded: an atomic one is recorded before its hook is called."""
    wait_until(lambda: len(lines(path)) >= len(expected), what="the last hook")
    assert lines(path) == expected


def test_a_task_runs_with_its_hooks_on_one_instance(there, start, path):
    start()
    handle = there.enqueue(path, what="go")
    assert handle.wait(30) == {"what": "go", "id": str(handle.id)}
    wait_for_lines(path, ["before 1", "success go ['go']"])


def test_each_attempt_has_a_fresh_instance(there, start, path):
    start()
    assert there.enqueue(path, "fail once").wait(30)["what"] == "fail once"
    expected = ["before 1", "retry KeyError('gone') ['fail once']", "before 2", "success fail once ['fail once']"]
    wait_for_lines(path, expected)


def test_a_task_that_fails_calls_the_hook_for_that_once(there, start, path):
    start()
    handle = there.enqueue(path, "fail")
    assert ended(handle) is ERROR
    assert handle.error_message == "KeyError: 'gone'"
    assert lines(path) == ["before 1", "retry KeyError('gone') ['fail']", "before 2", "failure KeyError"]


def test_an_exception_before_the_start_counts_as_that_of_the_attempt(there, start, path):
    start()
    handle = there.enqueue(path, "fail before")
    assert ended(handle) is ERROR
    assert handle.error_message == "KeyError: 'before'"
    assert [attempt.state for attempt in handle.failed_attempts] == [State.RETRY, State.ERROR]
    assert lines(path)[-1] == "failure KeyError"


def test_an_exception_after_the_end_is_logged_and_changes_nothing(start, path, caplog):
    start()
    handle = classes.InThread.enqueue(path, "fail after")
    assert ended(handle) is DONE
    assert [r.message for r in caplog.records if "hook" in r.message] == [
        f"A hook for the end of {handle.name} {handle.id} failed"
    ]


@pytest.mark.parametrize("there", [classes.InThread, classes.InProcess])
def test_a_task_that_takes_too_long_has_failed(there, start, path):
    start()
    handle = there.using(timeout=1, retries=0).enqueue(path, "nap")
    assert ended(handle) is ERROR
    assert "timed out after 1 s" in handle.error_message
    assert lines(path) == ["before 1", "failure TimeLimitExceeded"]


def test_a_failure_before_the_first_line_of_an_attempt_calls_the_hook_of_a_fresh_instance(
    start, tmp_path, monkeypatch, settings
):
    monkeypatch.chdir(tmp_path)
    handle = classes.Forgetful.enqueue(str(tmp_path / "ran"))
    settings.SECRET_KEY = "another one"
    start()
    assert ended(handle) is ERROR
    assert lines(tmp_path / f"{handle.name}.lines") == ["failure {}"]
    assert lines(tmp_path / "ran") == []


def test_nothing_is_left_of_attempts_that_have_ended(start, path):
    start()
    for what in ("go", "fail", "fail before"):
        ended(classes.InThread.enqueue(path, what))
    assert classes.InThread.definition._running == {}


def test_many_are_enqueued_with_one_statement(start, path, django_assert_num_queries):
    with django_assert_num_queries(1):
        handles = classes.InThread.enqueue_many([(path, "a"), {"path": path, "what": "b"}])
    start()
    assert [handle.wait(30)["what"] for handle in handles] == ["a", "b"]


async def enqueue(path):
    return await classes.InThread.aenqueue(path, "later")


def test_a_coroutine_enqueues_too(start, path):
    handle = async_to_sync(enqueue)(path)
    start()
    assert handle.wait(30)["what"] == "later"


def test_options_of_one_call_are_among_the_arguments_unless_the_method_takes_them(path):
    handle = classes.InThread.enqueue(path, "go", queue="slow", tags=["a"], priority=5)
    stored = read.task(current(), handle.id)
    assert (stored.queue, stored.tags, stored.priority) == ("slow", ["a"], 5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'atomic'"):
        classes.InThread.enqueue(path, "go", atomic=True)


def test_an_instance_is_called_like_a_decorated_function(start, path):
    handle = classes.InThread()(path, "go")
    start()
    assert handle.wait(30)["what"] == "go"


def test_immediate_runs_retries_and_hooks(path):
    with immediate():
        handle = classes.InThread.enqueue(path, "fail once")
        assert handle.status is DONE
    assert [line.split()[0] for line in lines(path)] == ["before", "retry", "before", "success"]


def test_captured_tasks_know_the_class(path):
    with captured_tasks() as tasks:
        classes.InThread.enqueue(path, "go")
        classes.OnLoop.using(delay=60).enqueue(path, "late")
    tasks.assert_enqueued(classes.InThread, args=(path, "go"))
    tasks.assert_not_enqueued(classes.InProcess)
    assert len(tasks.run_pending()) == 1
    assert lines(path) == ["before 1", "success go ['go']"]
    tasks.drain()
    assert lines(path)[-1] == "success late ['late']"
