"""The register of workers: leases that are renewed in time, and requests that arrive with the beat."""

import uuid

import pytest

from autotask.store import read, workers
from autotask.store.connection import current, execute, rows
from autotask.store.workers import Register
from tests.integration.store.shapes import count, put, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)


def lease_of(worker):
    found = rows(
        current(),
        "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 FROM autotask_worker WHERE id = %(id)s",
        {"id": worker},
    )
    return found[0][0]


def beat(worker, lease=30.0, stopping=False):
    """Return what is to be cancelled; None if the worker is not registered."""
    registered = workers.beat(current(), worker, lease=lease, stopping=stopping)
    return workers.to_be_cancelled(current(), worker) if registered else None


def test_a_worker_is_found_in_the_register_with_all_that_it_tells():
    # When
    id = sign_on(kind="companion", host="web1", pid=7, serves_pid=5, queues=("a", "b"), threads=3, version="1.2")

    # Then
    (worker,) = read.workers(current())
    assert (worker.id, worker.kind, worker.host, worker.pid, worker.serves_pid) == (id, "companion", "web1", 7, 5)
    assert (worker.queues, worker.threads, worker.version) == ("a,b", 3, "1.2")
    assert (worker.alive, worker.stopping, worker.running) == (True, False, 0)
    assert 0 <= worker.age < 30
    assert 0 <= worker.seen < 30


def test_a_beat_renews_the_lease():
    worker = sign_on(lease=1.0)
    assert beat(worker, lease=60.0) == []
    assert 30 < lease_of(worker) <= 60


def test_a_beat_tells_that_the_worker_is_stopping():
    worker = sign_on()
    beat(worker, stopping=True)
    assert read.workers(current())[0].stopping is True


def test_a_lease_that_has_run_out_is_renewed_while_nobody_has_buried_the_worker():
    worker = sign_on(lease=-1.0)
    assert beat(worker) == []
    assert read.workers(current())[0].alive is True


def test_a_worker_that_is_not_registered_is_told_so():
    assert beat(uuid.uuid4()) is None


def test_a_beat_tells_only_which_of_its_own_tasks_are_to_be_cancelled():
    # Given
    mine, other = sign_on(), sign_on()
    put(4)
    first, second = take(mine, limit=2)
    third, _ = take(other, limit=2)
    execute(
        current(),
        "UPDATE autotask_task SET cancel_requested = true WHERE id = ANY(%(ids)s)",
        {"ids": [first.id, third.id]},
    )

    # When, then
    assert beat(mine) == [first.id]
    assert beat(other) == [third.id]


def test_a_beat_does_not_wait_for_what_others_do_to_tasks(transaction):
    # Given
    worker = sign_on()
    put()
    take(worker)
    execute(transaction, "LOCK TABLE autotask_result, autotask_attempt, autotask_schedule")
    execute(transaction, "UPDATE autotask_task SET priority = 1")

    # When, then
    assert beat(worker) == []


def test_beats_touch_no_index():
    # Given
    worker = sign_on()
    before = rows(current(), "SELECT pg_relation_size('autotask_worker_pkey')")

    # When
    for _ in range(50):
        beat(worker)

    # Then no index has grown, because none of its columns changes
    indexed = rows(current(), "SELECT indexdef FROM pg_indexes WHERE tablename = 'autotask_worker'")
    assert all("lease_until" not in definition and "seen_at" not in definition for (definition,) in indexed)
    assert rows(current(), "SELECT pg_relation_size('autotask_worker_pkey')") == before


def test_beats_do_not_wait_for_a_lock_on_the_table_of_tasks(transaction):
    # Given
    worker = sign_on(lease=1.0)
    execute(transaction, "LOCK TABLE autotask_task IN ACCESS EXCLUSIVE MODE")

    # When
    execute(current(), "SET statement_timeout = '2s'")
    try:
        renewed = workers.beat(current(), worker, lease=60.0, stopping=False)
    finally:
        execute(current(), "RESET statement_timeout")

    # Then
    assert renewed
    assert lease_of(worker) > 50


def test_a_worker_that_signs_off_is_gone():
    worker, other = sign_on(), sign_on()
    workers.sign_off(current(), worker)
    workers.sign_off(current(), worker)
    assert [found.id for found in read.workers(current())] == [other]


def test_neighbours_are_the_other_workers_of_the_same_boot_of_the_same_host():
    # Given
    mine = sign_on()
    neighbour = sign_on(pid=7, pid_started=70)
    sign_on(host="elsewhere")
    sign_on(boot_id="another boot")

    # When
    found = workers.beat(current(), mine, lease=30.0, host="here", boot_id="boot")

    # Then
    assert [(each.id, each.pid, each.pid_started) for each in found.neighbours] == [(neighbour, 7, 70)]
    assert not found.overdue


def test_a_lease_that_has_run_out_is_noticed_wherever_its_worker_is():
    mine = sign_on(host="here", boot_id="boot")
    sign_on(lease=-1.0, host="elsewhere")
    assert workers.beat(current(), mine, lease=30.0, host="here", boot_id="boot") == Register([], True)


def test_a_request_to_cancel_is_told_with_each_beat_until_the_task_has_ended():
    worker = sign_on()
    put()
    (task,) = take(worker)
    execute(current(), "UPDATE autotask_task SET cancel_requested = true")
    assert beat(worker) == beat(worker) == [task.id]
    execute(current(), "DELETE FROM autotask_task")
    assert beat(worker) == []
    assert count("autotask_worker") == 1
