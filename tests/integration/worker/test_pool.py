"""Tasks at sites whose connections come from a pool (``OPTIONS = {"pool": …}``)."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store.connection import current
from tests.gates import gate
from tests.helpers import ended, patient
from tests.integration.worker import messy

if not is_psycopg3:
    pytest.skip("psycopg2 has no pool", allow_module_level=True)
pytest.importorskip("psycopg_pool")


@pytest.fixture
def pool(transactional_db, monkeypatch):
    """Threads that connect from now on share one connection."""
    entry = connections.settings["default"]
    options = {**entry["OPTIONS"], "pool": {"min_size": 0, "max_size": 1, "timeout": patient(5)}}
    monkeypatch.setitem(connections.settings, "default", {**entry, "OPTIONS": options, "CONN_MAX_AGE": 0})
    yield
    type(current())._connection_pools.pop("default").close()


@pytest.fixture
def executor():
    """Threads of the test, which have connections of their own."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def look():
    try:
        return messy.backend()
    finally:
        connections.close_all()


def test_the_end_of_a_task_leaves_a_connection_alone_that_somebody_else_has_from_the_pool(pool, start_worker, executor):
    # Given a task whose thread has given its connection back
    start_worker(threads=1)
    handle = messy.look_in_thread("x")
    assert gate("x reached").wait(patient(10))

    def use():
        try:
            with transaction.atomic():
                begun.set_result(messy.backend())
                assert has_ended.wait(patient(20))
                return messy.backend()
        finally:
            connections.close_all()

    begun, has_ended = Future(), threading.Event()
    used = executor.submit(use)
    pid = begun.result(patient(10))

    # When
    gate("x").set()
    handle.wait(patient(10))
    has_ended.set()

    # Then
    assert used.result(patient(20)) == pid


def test_the_end_of_a_task_leaves_a_connection_alone_that_waits_in_the_pool(pool, start_worker, executor):
    start_worker(threads=1)
    handle = messy.look_in_thread("x")
    assert gate("x reached").wait(patient(10))
    before = executor.submit(look).result(patient(10))
    gate("x").set()
    handle.wait(patient(10))

    assert executor.submit(look).result(patient(10)) == before


def test_a_connection_that_a_thread_has_left_goes_back_to_the_pool_as_it_is(pool, start_worker, executor, caplog):
    start_worker(threads=1)
    pid = messy.leave_in_thread(False).wait(patient(10))

    assert executor.submit(look).result(patient(10)) == pid
    assert "discarding" not in caplog.text


def test_a_connection_that_a_thread_has_left_in_a_transaction_is_replaced(pool, start_worker, executor):
    start_worker(threads=1)
    handle = messy.leave_in_thread(True)
    ended(handle)

    assert isinstance(executor.submit(look).result(patient(10)), int)
