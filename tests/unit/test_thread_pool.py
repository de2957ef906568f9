"""Threads that the system does not have: a pool goes on with those it has, and starts the others later."""

import threading

import pytest

from autotask.worker.pools import threads
from autotask.worker.pools.threads import ThreadPool
from tests.helpers import wait_until


def nothing(*_):
    pass


def test_a_pool_without_any_thread_is_refused(limit):
    limit(True)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        ThreadPool(2, nothing, nothing)


def test_a_pool_begins_with_the_threads_that_it_can_have(limit, monkeypatch, caplog):
    # Given: the limit is reached with the first thread
    monkeypatch.setattr(threads, "TRY_AGAIN", 0.0)
    place, made = threads.Place, []

    def make_place():
        made.append(place())
        if len(made) == 2:
            limit(True)
        return made[-1]

    monkeypatch.setattr(threads, "Place", make_place)
    done = []

    # When
    pool = ThreadPool(3, lambda record, _: done.append((record, threading.current_thread().name)), nothing)

    # Then
    assert "Only 1 of 3 threads could be started to run tasks: can't start new thread" in caplog.text
    pool.submit("first")
    assert pool.drain(10)
    assert pool.outstanding() == 0 and [record for record, _ in done] == ["first"]

    # When
    limit(False)
    pool.submit("second")

    # Then
    wait_until(lambda: len(pool._places) == 3)
    assert pool.drain(10)
    assert [record for record, _ in done] == ["first", "second"]


def test_a_thread_that_cannot_be_replaced_now_is_replaced_later(limit, monkeypatch):
    # Given
    monkeypatch.setattr(threads, "TRY_AGAIN", 0.0)
    go_on, done = threading.Event(), []
    pool = ThreadPool(1, lambda record, _: go_on.wait(10) if record == "stuck" else done.append(record), nothing)
    pool.submit("stuck")
    wait_until(lambda: pool.running())
    limit(True)

    # When
    assert pool.abandon("stuck") is not None
    pool.add_thread()
    pool.submit("first")
    assert done == []
    limit(False)
    pool.submit("second")

    # Then
    assert pool.drain(10)
    assert done == ["first", "second"]
    go_on.set()
