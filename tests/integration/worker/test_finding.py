"""How a worker comes to know tasks of modules that it has not imported."""

import importlib
import logging
import sys
import textwrap

import pytest

from autotask import definition as definitions, registry
from autotask.store.connection import current, execute
from autotask.task import DONE, ERROR, WAITING
from tests.helpers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

IMAGES = """
from autotask.tasks import delayed_task

@delayed_task
def shrink(number):
    return number - 1

@delayed_task
async def shrink_later(number):
    return number - 2

class Pictures:
    @staticmethod
    @delayed_task
    def shrink(number):
        return number - 3

@delayed_task(name="photos.shrink")
def own_name():
    return "found"
"""


@pytest.fixture
def unheard(tmp_path, monkeypatch):
    """Write a module, and return what imports it and lets the registry forget it, as if another process had imported it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(definitions.Definition, "__subclasses__", list)  # they are found by their module only
    monkeypatch.setattr(definitions, "_warned", set())
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(name, text=IMAGES):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        names.append(name)
        module = importlib.import_module(name)
        del sys.modules[name]
        for one in list(registry._definitions.values()):
            if one.function.__module__ == name:
                del registry._definitions[one.name]
        return module

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_worker_imports_the_module_that_the_name_of_a_task_begins_with(start_worker, unheard):
    # Given
    images = unheard("unheard_images")

    # When
    handles = [images.shrink(9), images.shrink_later(9), images.Pictures.shrink(9)]
    start_worker()

    # Then
    assert [handle.wait(20) for handle in handles] == [8, 7, 6]


def test_a_process_of_a_worker_finds_it_too(start_worker, unheard, tmp_path, monkeypatch):
    images = unheard(
        "unheard_in_a_process",
        """
        from autotask.tasks import delayed_task

        @delayed_task(executor="process")
        def shrink(number):
            return number - 1
        """,
    )
    start_worker()
    assert images.shrink(9).wait(30) == 8


def test_where_the_module_cannot_be_imported_the_task_is_unknown_and_says_what_to_do(
    start_worker, unheard, caplog, settings
):
    # Given
    settings.AUTOTASK_UNKNOWN_TASK_TIMEOUT = 0
    images = unheard("unheard_broken")
    handle = images.shrink(9)
    path = images.__file__
    with open(path, "w") as file:
        file.write("raise RuntimeError('not today')")

    # When
    start_worker()

    # Then
    wait_until(lambda: handle.ready, what="the end of the task")
    assert handle.status is ERROR
    assert "AUTOTASK_MODULES" in handle.error_message
    assert "not today" in caplog.text


def test_nothing_is_imported_for_a_payload_that_was_not_signed_under_that_name(start_worker, unheard):
    # Given
    images = unheard("unheard_signed")
    handle = images.shrink(9)
    execute(current(), "UPDATE autotask_task SET name = 'this.whatever'")

    # When
    start_worker()

    # Then
    wait_until(lambda: unknown_since(handle), what="the note that nobody knows it")
    assert "this" not in sys.modules and handle.status is WAITING


def unknown_since(handle):
    with current().cursor() as cursor:
        cursor.execute("SELECT unknown_since FROM autotask_live WHERE id = %s", [handle.id])
        return cursor.fetchone()[0]


def test_a_call_of_a_task_that_workers_may_not_find_says_so_once(unheard, caplog):
    # Given
    images = unheard("unheard_names")

    # When
    with caplog.at_level(logging.WARNING, logger="autotask"):
        images.own_name()
        images.own_name.using(delay=1)()
        images.shrink(9)

    # Then
    (line,) = [record.getMessage() for record in caplog.records if "AUTOTASK_MODULES" in record.getMessage()]
    assert "photos.shrink" in line and "unheard_names" in line


def test_a_task_of_a_module_that_is_named_in_the_settings_is_known_under_any_name(unheard, settings, worker, caplog):
    # Given
    unheard("unheard_named")
    settings.AUTOTASK_MODULES = ["unheard_named"]

    # When, as when Django starts
    registry.apps.get_app_config("autotask").ready()

    # Then
    handle = sys.modules["unheard_named"].own_name()
    assert handle.wait(20) == "found" and handle.status is DONE
