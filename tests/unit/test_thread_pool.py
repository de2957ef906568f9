"""Threads that the system does not have: a pool goes on with those it has, and starts the others later."""

import threading
import time

import pytest

from autotask.worker.pools import sharing, threads
from autotask.worker.pools.places import COUNTS_WAITS
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
    wait_until(lambda: len(pool.places) == 3)
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


@pytest.fixture
def alone(monkeypatch):
    """Items count as short however long the machine takes for them."""
    monkeypatch.setattr(sharing, "SHORT", 1.0)
    monkeypatch.setattr(sharing, "ALONE", 1.0)
    monkeypatch.setattr(sharing, "LONG", 1.0)


def left_to_one(pool, step):
    """Let all threads but one fall asleep while items wait, and leave *step* as the last of these."""
    for _ in range(10):
        pool.submit(nothing)
    assert pool.drain(10)
    gate = threading.Barrier(pool.size + 1)
    for _ in range(pool.size):
        pool.submit(gate.wait)
    wait_until(lambda: len(pool.running()) == pool.size)
    for item in (*(nothing for _ in range(50)), step):
        pool.submit(item)
    pool.balance()
    assert pool.sharing.may_leave == pool.size - 1
    gate.wait()


def call(item, _):
    item()


def test_one_thread_runs_short_items_while_the_others_rest(alone):
    # Given
    pool, held = ThreadPool(4, call, nothing), threading.Event()

    # When
    left_to_one(pool, lambda: held.wait(10))

    # Then
    wait_until(lambda: pool.asleep == 3)
    held.set()
    assert pool.drain(10)
    pool.close()


def test_a_long_item_among_short_ones_holds_none_of_them_up(alone):
    # Given: one thread is left for all items, and nobody balances the pool, since the loop waits for the database
    pool, held, done = ThreadPool(3, call, nothing), threading.Event(), []

    # When
    left_to_one(pool, lambda: held.wait(10))
    for number in range(5):
        pool.follow(lambda number=number: done.append(number))

    # Then
    wait_until(lambda: len(done) == 5)
    wait_until(lambda: len(pool.running()) == 1)
    held.set()
    assert pool.drain(10)
    pool.close()


def test_items_that_wait_for_something_get_all_threads_again(alone, monkeypatch):
    # Given
    pool = ThreadPool(3, call, nothing)
    left_to_one(pool, nothing)
    assert pool.drain(10)

    # When
    monkeypatch.setattr(sharing, "ALONE", 0.0)
    pool.balance()

    # Then: one after the other was too slow
    assert pool.sharing.may_leave == 0
    pool.close()


def test_an_item_that_is_over_is_not_watched_while_its_thread_has_something_to_do_for_it():
    is_over, may_end = threading.Event(), threading.Event()

    def run(item, place):
        place.over()
        is_over.set()
        may_end.wait(10)

    pool = ThreadPool(1, run, nothing)
    pool.submit("x")
    assert is_over.wait(10)
    assert (pool.running(), pool.outstanding(), pool.abandon("x")) == ([], 1, None)
    may_end.set()
    wait_until(lambda: not pool.outstanding())
    pool.close()


def test_threads_end_when_their_pool_is_closed():
    # Given
    ended = []
    pool = ThreadPool(3, call, nothing, name="closed", end=lambda: ended.append(threading.current_thread().name))
    held = threading.Event()
    pool.submit(lambda: held.wait(10))
    wait_until(lambda: pool.asleep == 2)

    # When
    pool.close()

    # Then: one that still runs an item ends after that
    wait_until(lambda: len(ended) == 2)
    held.set()
    wait_until(lambda: len(ended) == 3)
    wait_until(lambda: not any(thread.name.startswith("closed") for thread in threading.enumerate()))


def finish(pool, item, number):
    for _ in range(number):
        pool.submit(item)
    assert pool.drain(30)
    pool.balance()


@pytest.mark.skipif(not COUNTS_WAITS, reason="the system does not count the waits of a thread")
def test_waits_and_not_seconds_decide_whether_one_thread_runs_all(alone, monkeypatch):
    # Given
    pool = ThreadPool(2, call, nothing)
    finish(pool, lambda: time.sleep(1e-6), 400)
    assert pool.sharing.may_leave == 0

    # When
    monkeypatch.setattr(sharing, "ALONE", 0.0)
    monkeypatch.setattr(sharing, "TOGETHER", 0.0)
    pool.sharing.together_until = float("-inf")
    finish(pool, nothing, 400)

    # Then
    assert pool.sharing.may_leave == 1
    pool.close()


@pytest.mark.skipif(not COUNTS_WAITS, reason="the system does not count the waits of a thread")
def test_a_guess_by_seconds_holds_only_until_waits_are_counted(alone, monkeypatch):
    # Given: all threads run the first items, since these seem to take long
    monkeypatch.setattr(sharing, "ALONE", 0.0)
    monkeypatch.setattr(sharing, "TOGETHER", 3600.0)
    pool = ThreadPool(2, call, nothing)
    finish(pool, nothing, 1)
    assert pool.sharing.may_leave == 0

    # When
    finish(pool, nothing, 400)

    # Then
    assert pool.sharing.may_leave == 1
    pool.close()


def test_a_long_item_holds_up_none_of_a_later_batch_either(alone, monkeypatch):
    # Given: all threads sleep, and have had nothing to look at for a while
    monkeypatch.setattr(threads, "SECOND_LOOK", sharing.STANDSTILL)
    pool, held, done = ThreadPool(3, call, nothing), threading.Event(), []
    left_to_one(pool, nothing)
    assert pool.drain(10)
    wait_until(lambda: pool.asleep == 3 and not pool.looks_on)

    # When
    for item in (lambda: held.wait(20), *(lambda number=number: done.append(number) for number in range(5))):
        pool.submit(item)

    # Then: the loop has to look, until a thread does
    wait_until(lambda: len(pool.running()) == 1)
    assert pool.holds_back()
    pool.balance()
    wait_until(lambda: len(done) == 5)
    held.set()
    assert pool.drain(10)
    pool.close()


def test_a_thread_looks_on_again_when_there_is_something_to_do(alone):
    # Given
    pool, held = ThreadPool(3, call, nothing), threading.Event()
    left_to_one(pool, nothing)
    assert pool.drain(10)
    wait_until(lambda: pool.asleep == 3 and not pool.looks_on)

    # When
    for item in (nothing, lambda: held.wait(20), nothing):
        pool.submit(item)
    wait_until(lambda: len(pool.running()) == 1)
    pool.balance()

    # Then: it wakes the others
    wait_until(lambda: pool.outstanding() == 1)
    held.set()
    assert pool.drain(10)
    pool.close()


def test_threads_that_are_about_to_sleep_or_to_wake_are_not_relied_upon(alone):
    # Given: both threads are busy, and one of them may leave what waits to the other
    pool, held = ThreadPool(2, call, nothing), threading.Event()
    for _ in range(2):
        pool.submit(lambda: held.wait(20))
    wait_until(lambda: len(pool.running()) == 2)
    assert not pool.holds_back()
    pool.submit(nothing)
    pool.sharing.may_sleep = pool.sharing.may_leave = 1

    # When, Then: nobody looks on yet
    assert pool.holds_back()

    # When, Then: somebody does, and nobody is being woken
    pool.looks_on = True
    assert not pool.holds_back()
    pool.bell.ring()
    assert pool.holds_back()
    pool.looks_on = False
    held.set()
    assert pool.drain(10)
    pool.close()
