"""Caches and other connections are kept from task to task, language and time zone are not."""

import pytest
from django.utils import timezone, translation

from tests.integration.worker import caching

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def counted(settings):
    """A cache that counts; it and the other connections are made afresh in each test."""
    backend = f"{caching.__name__}.{caching.CountedCache.__name__}"
    settings.CACHES = {**settings.CACHES, "counted": {"BACKEND": backend}}
    caching.CountedCache.made = caching.CountedCache.closed = caching.CountedLines.made = 0


TASKS = [caching.in_thread, caching.in_coroutine, caching.in_thread_of_coroutine]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name.rpartition(".")[2])
def test_tasks_one_after_the_other_use_the_same_connections(start_worker, task):
    # Given
    start_worker(threads=1)
    kept = task().wait(20)

    # Then
    assert kept[0] == 1 and kept[1] <= 1
    assert {task().wait(20) for _ in range(20)} == {kept}
    assert caching.CountedCache.closed >= 20  # as at the end of a request


def test_each_thread_makes_its_connections_once(start_worker):
    start_worker(threads=3)
    handles = caching.in_thread.enqueue_many([()] * 60)
    assert max(handle.wait(20)[0] for handle in handles) <= 3


def test_coroutines_that_run_at_a_time_do_not_share_connections_and_later_ones_use_them_again(start_worker):
    start_worker(coroutines=4)
    handles = caching.in_thread_of_coroutine.enqueue_many([()] * 60)
    assert max(handle.wait(20)[0] for handle in handles) <= 4


def test_one_more_connection_is_kept_with_the_others(start_worker):
    start_worker(threads=1)
    caching.in_thread().wait(20)
    first = caching.use_other().wait(20)
    assert {caching.use_other().wait(20) for _ in range(3)} == {first}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name.rpartition(".")[2])
def test_language_and_time_zone_of_a_task_do_not_reach_the_next(start_worker, task):
    start_worker(threads=1)
    here = (translation.get_language(), timezone.get_current_timezone_name())
    assert [task(language).wait(20)[2:] for language in ("de", "pl", "fr")] == [here] * 3


def test_a_child_process_keeps_its_connections_and_no_language(start_worker):
    # Given: a child, which does not know the settings of this test
    start_worker(processes=1)
    handles = [caching.in_other_process("de") for _ in range(3)]

    # Then
    assert [handle.wait(20) for handle in handles] == [(1, "en")] * 3
