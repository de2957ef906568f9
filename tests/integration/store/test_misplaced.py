"""Due tasks that somebody has taken from their place by hand: they are found, and workers rescue them."""

import contextlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction

from autotask.store import misplaced, rescue
from autotask.store.connection import current, execute, rows
from autotask.store.situation import read_situation
from autotask.task import State
from tests.helpers import wait_until
from tests.integration.held import OPENAI, hold
from tests.integration.store import crowd
from tests.integration.store.plans import explained
from tests.integration.store.shapes import let_be_ready, put, sign_on, state, stored, take, waiting_for_locks

pytestmark = pytest.mark.django_db(transaction=True)


def ready(count=1, **changes):
    ids = put(count, **changes)
    let_be_ready(*ids)
    return ids


def lose(table):
    execute(current(), f"DELETE FROM autotask_{table}")


def found():
    return misplaced.find(current(), 100)


def repair_and_leave():
    with contextlib.closing(current()) as connection:
        return misplaced.repair(connection)


def rescued():
    return rescue.rescue(current(), [], reason="gone", max_crashes=3, error_ttl=1000.0)


def test_tasks_in_their_places_are_left_alone():
    # Given: each of them, and one that is not due
    put(1, delay=600)
    worker = sign_on()
    ready(2)
    take(worker, limit=1)
    hold(OPENAI)

    # Then
    assert found() == (0, [])
    assert misplaced.repair(current()) == 0
    assert rows(current(), "SELECT count(*) FROM autotask_claim") == [(1,)]


@pytest.mark.parametrize("place", ["ready", "held"])
def test_a_task_that_somebody_has_changed_by_hand_is_in_its_place_as_long_as_a_worker_finds_it(place):
    (id,) = ready() if place == "ready" else hold(OPENAI)
    execute(current(), "UPDATE autotask_task SET priority = 5 WHERE id = %(id)s", {"id": id})
    assert found() == (0, [])
    assert not read_situation(current(), id).misplaced


@pytest.mark.parametrize("place", ["ready", "held", "claim"])
def test_a_task_that_has_lost_its_place_is_found_and_rescued_by_the_next_worker(place):
    # Given
    if place == "held":
        (id,) = hold(OPENAI)
    else:
        (id,) = ready()
        if place == "claim":
            take(sign_on())
    lose(place)
    assert read_situation(current(), id).misplaced

    # When
    assert found() == (1, [id])
    assert misplaced.repair(current()) == 1

    # Then
    assert found() == (0, [])
    assert rescued() == (0, 1, 0)
    assert state(id) is (State.HELD if place == "held" else State.READY)
    assert not read_situation(current(), id).misplaced
    assert stored(id).lost == 1


def test_one_that_may_run_once_only_ends_with_an_error_that_says_so():
    (id,) = ready(at_most_once=True)
    lose("ready")
    misplaced.repair(current())
    assert rescued() == (0, 0, 1)
    assert state(id) is State.ERROR
    assert "it is not run again" in stored(id).error_message


def test_they_are_found_in_no_time_whatever_the_planner_thinks_of_the_tables():
    # Given
    with crowd.own_schema():
        (first,) = put()
        crowd.multiply("autotask_task", first, 5_000, ready_at="t.ready_at + n * interval '1 us'")
        crowd.analyze()
        tables = "('autotask_task'::regclass, 'autotask_ready'::regclass)"
        execute(current(), f"UPDATE pg_class SET reltuples = 0 WHERE oid IN {tables}")

        # When
        with explained(current()) as plans:
            assert found() == (0, [])
            assert misplaced.repair(current()) == 0

        # Then
        assert max(plan.discarded for plan in plans) <= 10_000, plans


def test_many_are_repaired_in_pieces(monkeypatch):
    # Given
    ids = ready(7)
    lose("ready")
    monkeypatch.setattr(misplaced, "PIECE", 3)

    # When
    assert misplaced.find(current(), 2) == (7, sorted(ids)[:2])
    assert misplaced.repair(current()) == 7

    # Then
    assert rescued() == (0, 7, 0)
    assert {state(id) for id in ids} == {State.READY}


def test_repairs_at_the_same_time_give_a_task_one_claim():
    # Given
    ready(500)
    lose("ready")

    # When
    with ThreadPoolExecutor(4, initializer=threading.Barrier(4).wait) as threads:
        numbers = list(threads.map(lambda _: repair_and_leave(), range(4)))

    # Then
    assert sorted(numbers) == [0, 0, 0, 500]
    assert rows(current(), "SELECT count(*), count(DISTINCT id) FROM autotask_running") == [(500, 500)]


def test_a_repair_that_has_waited_for_another_sees_what_that_has_done_at_any_isolation(other_connection):
    # Given: repairs in transactions that would see no newer rows than their first statement
    def repair_later(_):
        with contextlib.closing(current()) as connection:
            execute(connection, "SET default_transaction_isolation = 'repeatable read'")
            return misplaced.repair(connection)

    ready(2)
    lose("ready")
    with ThreadPoolExecutor(2) as threads:
        # When
        with transaction.atomic():
            execute(current(), misplaced._ONE_AT_A_TIME)
            numbers = threads.map(repair_later, range(2))
            wait_until(lambda: waiting_for_locks(other_connection) == 2, what="repairs that wait")
        # Then
        assert sorted(numbers) == [0, 2]
    assert rows(current(), "SELECT count(*) FROM autotask_running") == [(2,)]


def test_an_unknown_id_is_not_misplaced():
    assert not read_situation(current(), uuid.uuid4()).misplaced
