"""What a worker counts: each recorded outcome once, and what is lost."""

import pytest

from autotask.store import read, statistics
from autotask.store.connection import current
from autotask.store.statistics import Of
from autotask.tasks import Cancel, Retry, delayed_task
from autotask.worker import statistics as module
from tests.helpers import wait_until
from tests.integration.store.shapes import let_run, put, sign_on

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)


@delayed_task(retries=1, backoff=0)
def ends(how: str) -> None:
    if how == "fail":
        raise ValueError(how)
    if how == "retry":
        raise Retry(delay=0)
    if how == "cancel":
        raise Cancel(how)


@delayed_task(atomic=True)
def ends_in_a_transaction() -> None:
    """Record its own outcome."""


def counted(task):
    return statistics.totals(current()).get(Of(task.name))


def test_each_outcome_is_counted_once(worker):
    # When
    ends.enqueue_many([("well",)] * 30 + [("fail",)] * 3 + [("retry",)] * 2 + [("cancel",)])
    ends_in_a_transaction()
    # Then
    wait_until(lambda: (seen := counted(ends)) and seen.ended >= 36, what="the counts of all tasks")
    wait_until(lambda: counted(ends_in_a_transaction), what="the count of the other task")
    seen = counted(ends)
    assert (seen.succeeded, seen.failed, seen.retried, seen.cancelled, seen.lost) == (30, 5, 5, 1, 0)
    assert seen.started == sum(seen.waiting) == sum(seen.running) == 41
    assert 0 <= seen.ran < 60
    assert counted(ends_in_a_transaction).succeeded == 1


def test_the_last_counts_are_written_when_the_worker_stops(start_worker, monkeypatch):
    # Given
    monkeypatch.setattr(module, "EVERY", 1000.0)
    worker = start_worker()
    # When
    assert ends("well").wait(10) is None
    worker.stop()
    # Then
    wait_until(lambda: counted(ends), what="the counts of the worker that has stopped")
    wait_until(lambda: not read.workers(current()), what="the end of the worker")
    assert counted(ends).succeeded == 1


def test_an_attempt_whose_worker_has_died_is_lost(start_worker):
    # Given: a worker that is not in the register any more
    let_run(*put(1, name="shop.of_a_dead_worker"))
    sign_on()
    # When
    start_worker()
    # Then
    of = Of("shop.of_a_dead_worker")
    wait_until(
        lambda: (seen := statistics.totals(current()).get(of)) and seen.lost, what="the count of the lost attempt"
    )
    assert statistics.totals(current())[of].lost == 1


def test_without_statistics_nothing_is_written(start_worker, settings):
    settings.AUTOTASK_STATISTICS = False
    worker = start_worker()
    assert ends("well").wait(10) is None
    worker.stop()
    wait_until(lambda: not read.workers(current()), what="the end of the worker")
    assert not statistics.totals(current())
