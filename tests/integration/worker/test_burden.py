"""A worker holds a limited number of bytes, and small outcomes do not wait for large ones."""

import pytest

from autotask.store.connection import current, execute, rows
from autotask.task import DONE, THREAD
from autotask.worker import burden, recorder
from tests.helpers import wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 800_000
SIZE = 100_000


@pytest.fixture
def small(settings, monkeypatch):
    """Workers hold little."""
    monkeypatch.setattr(burden, "MOST", MOST)
    settings.AUTOTASK_MAX_PAYLOAD = SIZE + 1000


@pytest.fixture
def results_locked(other_connection):
    """Nothing can be recorded; call what is returned to let it be."""
    execute(other_connection, "BEGIN")
    execute(other_connection, "LOCK TABLE autotask_result IN SHARE MODE")
    return lambda: execute(other_connection, "ROLLBACK")


def running():
    return rows(current(), "SELECT count(*) FROM autotask_live WHERE state = 2")[0][0]


def all_done(handles):
    wait_until(lambda: all(handle.ready for handle in handles), 30, "the end of all tasks")
    assert {handle.status for handle in handles} == {DONE}


@pytest.mark.parametrize("given", ["results", "arguments"])
def test_nothing_is_claimed_while_too_many_bytes_are_held(small, start_worker, results_locked, given):
    # Given
    handles = (
        tasks.return_bytes.enqueue_many([(SIZE,)] * 60)
        if given == "results"
        else tasks.echo_length.enqueue_many([(b"x" * SIZE,)] * 60)
    )
    worker = start_worker()

    # When
    wait_until(lambda: not worker.recorder.burden.is_bearable(), what="a worker that holds enough")
    seen = [worker.recorder.burden.held()]
    wait_until(lambda: seen.append(worker.recorder.burden.held()) or len(seen) > 30)

    # Then: beyond that there is what ran, or was claimed, when it was reached
    assert max(seen) <= MOST + 2 * (worker.options.threads + 1) * SIZE
    assert running() <= MOST / SIZE + 2 * (worker.options.threads + 1)

    # When, then
    results_locked()
    all_done(handles)
    wait_until(lambda: worker.recorder.burden.held() == 0, what="a worker that holds nothing")


def test_a_claim_of_short_tasks_does_not_bring_more_bytes_than_a_worker_may_hold(small, start_worker):
    # Given a worker that holds many tasks ahead, since they have been short and small
    worker = start_worker()
    all_done(tasks.echo.enqueue_many([(number,) for number in range(100)]))
    seen = []
    take, worker.recorder.burden.take = (
        worker.recorder.burden.take,
        lambda claimed: seen.append(sum(map(size, claimed))) or take(claimed),
    )

    # When
    handles = tasks.echo_length.enqueue_many([(b"x" * SIZE,)] * 60)

    # Then
    all_done(handles)
    assert 0 < max(seen) <= MOST + SIZE + 1000


def size(task):
    return len(task.payload)


def test_a_small_result_does_not_wait_for_many_large_ones(start_worker, results_locked, monkeypatch):
    # Given
    monkeypatch.setattr(recorder, "LARGEST_STATEMENT", 1_000_000)
    worker = start_worker()
    large = tasks.return_bytes.enqueue_many([(200_000,)] * 60)
    wait_until(lambda: worker.recorder.burden.held() >= 12_000_000, what="many results that cannot be recorded")

    # When
    small = [tasks.echo(number) for number in range(3)]
    wait_until(lambda: worker.pools[THREAD].outstanding() == 0, what="the end of the small ones")
    results_locked()
    all_done([*small, *large])

    # Then
    before = """
        SELECT count(DISTINCT r.xmin::text) FROM autotask_result r
        WHERE r.xmin::text::bigint < (SELECT max(s.xmin::text::bigint) FROM autotask_result s WHERE s.id = ANY(%(ids)s))
    """
    assert rows(current(), before, {"ids": [handle.id for handle in small]})[0][0] <= 6
