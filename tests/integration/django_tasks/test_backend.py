"""The backend itself: options, signals of Django, strictness, checks, and whom it imports for."""

import logging
import sys
import uuid
from importlib import import_module
from importlib.util import find_spec

import django
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.dispatch import receiver

from autotask import registry
from autotask.backend import AutotaskBackend, AutotaskTask
from autotask.backend.definition import DjangoTask
from autotask.checks.about_limits import check_limit_names
from autotask.django_tasks import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from autotask.exceptions import PayloadRefused, UnknownOption, UnknownTask
from autotask.options import DJANGO_TASK_OPTION_NAMES
from autotask.store import claim, read, rescue
from autotask.store.claim import BoundedLane, Lane
from autotask.store.connection import current, execute, rows
from autotask.tasks import Limit, task
from tests.helpers import wait_until
from tests.integration.django_tasks import tasks
from tests.integration.store.shapes import sign_on, take
from tests.integration.worker import tasks as tasks_of_autotask

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "autotask.backend.AutotaskBackend"


@pytest.fixture
def told():
    """What the receivers of Django's signals are told: the signal, the sender, and how the result is at that moment."""
    heard = []
    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}

    def listen(name, signal):
        @receiver(signal, weak=False)
        def hear(sender, task_result, **_):
            heard.append((name, sender, str(task_result.status), task_result.attempts, task_result.id))

        return hear

    receivers = [(signal, listen(name, signal)) for name, signal in signals.items()]
    yield heard
    for signal, hear in receivers:
        signal.disconnect(hear)


def finished(told, result):
    return wait_until(lambda: [what for what in told if what[0] == "finished" and what[-1] == result.id])


def test_receivers_of_django_are_told_with_the_class_of_the_backend_as_the_sender(worker, told):
    # When
    result = tasks.double.enqueue(1)
    finished(told, result)

    # Then
    assert {what[-1] for what in told} == {result.id}
    assert sorted(what[:-1] for what in told) == [
        ("enqueued", AutotaskBackend, "READY", 0),
        ("finished", AutotaskBackend, "SUCCESSFUL", 1),
        ("started", AutotaskBackend, "RUNNING", 1),
    ]


def test_receivers_are_told_of_each_attempt_and_of_one_end(worker, told, caplog):
    # When
    result = tasks.fail_with_context.enqueue()
    finished(told, result)

    # Then
    assert [what[:4] for what in told if what[0] != "enqueued"] == [
        ("started", AutotaskBackend, "RUNNING", 1),
        ("started", AutotaskBackend, "RUNNING", 2),
        ("finished", AutotaskBackend, "FAILED", 2),
    ]
    (line,) = [r for r in caplog.records if r.name.startswith("django") and "FAILED" in r.getMessage()]
    assert line.levelno == logging.ERROR and "attempt 2 after 1 errors" in str(line.exc_info[1])


def test_a_receiver_that_raises_harms_nothing(worker):
    # Given
    def fail(**_):
        raise RuntimeError("a receiver")

    for signal in (task_enqueued, task_started, task_finished):
        signal.connect(fail)

    # When
    result = tasks.echo.enqueue(1)

    # Then
    wait_until(lambda: result.refresh() or result.is_finished)
    for signal in (task_enqueued, task_started, task_finished):
        signal.disconnect(fail)
    assert result.return_value == 1


def test_a_task_that_has_ended_because_its_worker_died_has_failed_and_is_told_of(told):
    # Given
    result = tasks.echo.enqueue(1)
    worker = sign_on()
    take(worker)

    # When
    rescue.rescue(current(), [worker], reason="signal 9 (SIGKILL)", max_crashes=1, error_ttl=60.0)

    # Then
    result.refresh()
    assert (result.status, result.worker_ids) == (TaskResultStatus.FAILED, [str(worker)])
    assert [error.exception_class.__name__ for error in result.errors] == ["WorkerLost"]
    assert "signal 9 (SIGKILL)" in result.errors[0].traceback
    assert [what[:3] for what in told[1:]] == [("finished", AutotaskBackend, "FAILED")]


def test_a_task_whose_worker_died_is_ready_again_and_the_death_is_among_its_errors(told):
    # Given
    result = tasks.echo.enqueue(1)
    worker = sign_on()
    take(worker)

    # When
    rescue.rescue(current(), [worker], reason="signal 9 (SIGKILL)", max_crashes=3, error_ttl=60.0)

    # Then
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    assert [error.exception_class.__name__ for error in result.errors] == ["WorkerLost"]
    assert [what[0] for what in told] == ["enqueued"]


def test_with_the_serializer_json_arguments_and_values_are_what_json_can_hold(worker, settings):
    # Given
    settings.TASKS = {"default": {"BACKEND": PATH, "OPTIONS": {"SERIALIZER": "json"}}}

    # When
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.echo.enqueue(uuid.uuid4())
    good, bad = tasks.echo.enqueue((1, b"two")), tasks.unpicklable.enqueue()

    # Then
    for result in (good, bad):
        wait_until(lambda result=result: result.refresh() or result.is_finished)
    assert (good.args, good.return_value) == ([[1, "two"]], [1, "two"])
    assert "Unsupported type" in bad.errors[0].traceback


def test_options_of_the_backend_hold_for_tasks_that_say_nothing_else(settings):
    # Given
    settings.TASKS = {"default": {"BACKEND": PATH, "OPTIONS": {"RETRIES": 4, "TTL": 7.0, "TIMEOUT": 9}}}

    # When
    tasks.echo.enqueue(1)
    tasks.fail_with_context.enqueue()

    # Then
    assert rows(current(), "SELECT retries, ttl, timeout FROM autotask_live ORDER BY id") == [
        (4, 7.0, 9.0),
        (1, 7.0, 9.0),
    ]


def test_where_nobody_says_how_long_results_are_kept_it_is_a_day():
    tasks.echo.enqueue(1)
    assert rows(current(), "SELECT ttl FROM autotask_live") == [(86400.0,)]


def test_a_task_of_django_can_have_tags():
    tasks.echo.using(tags=["billing", "eu"]).enqueue(1)
    assert rows(current(), "SELECT tags FROM autotask_live") == [(["billing", "eu"],)]


def test_the_options_of_autotask_are_options_of_tasks_too():
    fields = AutotaskTask.__dataclass_fields__
    assert [name for name in DJANGO_TASK_OPTION_NAMES if name not in fields] == []
    assert tasks.echo.using(retries=2, timeout=3).using(priority=1).retries == 2
    with pytest.raises(UnknownOption, match="did you mean 'retries'"):
        tasks.echo.using(retreis=1)


def test_an_unknown_option_of_the_decorator_of_django_is_refused_where_it_is_written():
    decorate = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks").task
    with pytest.raises(UnknownOption, match=r"@task of .*<locals>\.sync.*'uniq'.*did you mean 'unique'.*queue_name"):

        @decorate(uniq=True)
        def sync(account_id): ...


def test_a_task_of_django_has_gates_and_a_unique_key():
    made = tasks.echo.using(unique=True, concurrency=Limit(1, key=True), when_full="drop")
    arguments = {"value": 7}
    flow = DjangoTask(made).plan.flow(arguments)
    assert flow.unique_key == f"{made.module_path}(value=7)"
    assert [(gate.most, gate.when_full) for gate in flow.gates] == [(1, "drop")]
    assert DjangoTask(made.using(unique=False)).plan.flow(arguments).unique_key is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"retries": -1}, "retries"),
        ({"unique": "wibble"}, "wibble"),
        ({"rate": "100/fortnight"}, "fortnight"),
        ({"debounce": 5, "throttle": "1/s"}, "debounce"),
        ({"atomic": True}, "coroutines"),
        ({"queue_name": "elsewhere"}, "elsewhere"),
        ({"priority": 101}, "priority"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_options_that_make_no_sense_are_refused_where_they_are_written(given, said):
    with pytest.raises(InvalidTask, match=said):
        tasks.double.using(**given)


def test_a_task_of_the_script_that_is_run_is_refused_at_the_call(monkeypatch):
    # Given
    main = sys.modules["__main__"]
    monkeypatch.setattr(script_function, "__module__", "__main__")
    task = tasks.plain_task(script_function)
    monkeypatch.setattr(main, "script_function", task, raising=False)

    # Then
    with pytest.raises(InvalidTask, match="the script that is run"):
        task.enqueue()


def script_function():
    """Be defined in a script."""


def test_options_have_no_effect_where_the_backend_is_another_one(settings):
    # Given
    framework = sys.modules[task_backends.__class__.__module__]
    settings.TASKS = {"default": {"BACKEND": f"{framework.__name__}.backends.immediate.ImmediateBackend"}}

    # When
    made = task(retries=3, timeout=5)(tasks.undecorated)

    # Then
    assert not isinstance(made, AutotaskTask)
    with pytest.raises(UnknownOption):
        task(retreis=3)(tasks.undecorated)


@pytest.mark.parametrize(
    ("entry", "ids"),
    [
        ({}, []),
        ({"OPTIONS": {"SERIALIZER": "json", "RETRIES": 3, "BACKOFF": [1, 2]}}, []),
        ({"OPTIONS": {"SERIALIZER": "yaml", "RETREIS": 3, "TIMEOUT": -1}}, ["autotask.E010"] * 3),
        ({"OPTIONS": {"UNIQUE": True, "UNIQUE_FOR": 60, "CONCURRENCY": 2, "WHEN_FULL": "drop"}}, []),
        ({"OPTIONS": {"UNIQUE_FOR": 60, "RATE": "100/fortnight"}}, ["autotask.E010"] * 2),
        ({"QUEUES": ["mail", "two words"]}, ["autotask.E011"]),
    ],
    ids=["nothing", "good", "options", "options that need others", "an option without the other", "queues"],
)
def test_the_checks_of_django_tell_what_is_wrong_with_the_entry(entry, ids):
    assert [message.id for message in AutotaskBackend("default", entry).check()] == ids


def test_the_checks_tell_that_a_task_names_a_limit_that_the_settings_lack(settings, monkeypatch):
    def problems():
        return [problem for problem in check_limit_names() if tasks.undecorated.__name__ in problem.msg]

    # Given
    monkeypatch.setattr(registry, "limits_of_others", set())
    settings.AUTOTASK_LIMITS = {"openai": 4}
    task(concurrency="opnai")(tasks.undecorated)
    task(concurrency=Limit(name="openai", key=True))(tasks.undecorated)

    # When
    (problem,) = problems()

    # Then
    assert (problem.id, "opnai" in problem.msg, "Did you mean openai?" in problem.hint) == ("autotask.E016", True, True)
    settings.AUTOTASK_LIMITS = {"opnai": 4, "openai": 4}
    assert problems() == []


def test_the_checks_tell_that_the_app_is_missing(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "autotask"]
    assert [message.id for message in AutotaskBackend("default", {}).check()] == ["autotask.E009"]


def test_nothing_is_imported_for_a_task_that_nobody_of_this_site_has_enqueued():
    # Given
    result = tasks.echo.enqueue(1)
    execute(current(), "UPDATE autotask_task SET name = 'this.whatever'")
    (claimed,) = claim.claim(current(), sign_on(), [BoundedLane(Lane("default", 0), None)], per_lane=1, limit=1)

    # Then
    assert "this" not in sys.modules and find_spec("this")
    with pytest.raises(UnknownTask):
        registry.find(claimed)
    with pytest.raises(PayloadRefused):
        task_backends["default"].get_result(result.id)
    assert "this" not in sys.modules


def test_a_task_that_has_been_removed_from_the_code_waits_for_a_worker_that_knows_it(worker, monkeypatch):
    # Given
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    registry._definitions.pop(tasks.urgent.module_path, None)
    result = tasks.urgent.using(priority=0).enqueue("nowhere", "word")
    monkeypatch.delattr(tasks, "urgent")

    # Then
    wait_until(
        lambda: rows(current(), "SELECT unknown_since FROM autotask_live WHERE unknown_since IS NOT NULL"),
    )
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(result.id)


def test_a_task_of_autotask_runs_beside_those_of_django(worker):
    results = [tasks.echo.enqueue(1), tasks.double.enqueue(1)]
    assert tasks_of_autotask.echo(2).wait(10) == 2
    for result in results:
        wait_until(lambda result=result: result.refresh() or result.is_finished)
    assert [result.return_value for result in results] == [1, 2]


def test_the_history_of_a_task_that_is_not_there_is_none():
    assert read.history(current(), uuid.uuid4()) is None


def test_without_a_tasks_framework_the_decorator_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "autotask.django_tasks")
    monkeypatch.setitem(sys.modules, "django.tasks", None)
    monkeypatch.setitem(sys.modules, "django_tasks", None)
    monkeypatch.setattr("django.VERSION", (5, 2))
    with pytest.raises(ImproperlyConfigured, match=r"autotask\[django-tasks\]"):
        task(tasks.undecorated)


# --- calls that make no task of their own ---------------------------------------------------------------------------


def test_a_further_call_of_a_unique_task_returns_the_result_of_the_first(told):
    first, again = tasks.sync.enqueue(7), tasks.sync.enqueue(7)
    assert again.id == first.id and again.status is TaskResultStatus.READY
    assert [what[0] for what in told] == ["enqueued"]
    assert tasks.sync.enqueue(8).id != first.id


def test_the_arguments_of_debounced_calls_are_merged():
    first = tasks.index.enqueue(1, 1)
    again = tasks.index.enqueue(1, version=2)
    assert (again.id, again.args, again.kwargs) == (first.id, [], {"document_id": 1, "version": 3}) or (
        again.id,
        again.args,
        again.kwargs,
    ) == (first.id, [1, 3], {})
    assert task_backends[first.backend].get_result(first.id).status is TaskResultStatus.READY
