"""A pool hands its executor no more than there is room for, and keeps the rest until then."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from autotask.worker.pools.executors import ExecutorPool
from autotask.worker.pools.messages import Ended
from tests.helpers import wait_until


class Customer:
    """Its items are functions; it keeps how they ended."""

    def __init__(self):
        self.ends = []

    def job(self, item):
        return item

    def received(self, item, message):
        pass

    def ended(self, item, began, end):
        self.ends.append(end)


@pytest.fixture
def customer():
    return Customer()


@pytest.fixture
def pool(customer):
    pool = ExecutorPool(2, lambda: ThreadPoolExecutor(4), lambda job: job(), customer, lambda: None)
    yield pool
    pool.close()


def test_items_wait_here_until_the_executor_has_room(pool, customer):
    # Given
    held = threading.Event()
    for number in range(10):
        pool.submit(lambda number=number: (held.wait(10), number)[1])

    # When
    wait_until(lambda: len(pool.running()) == 2)

    # Then
    assert pool.outstanding() == 10
    held.set()
    assert pool.drain(10)
    assert sorted(end.value for end in customer.ends) == list(range(10))
    assert pool.outstanding() == 0


def test_items_that_wait_here_can_be_taken_back(pool, customer):
    # Given
    held = threading.Event()
    for _ in range(10):
        pool.submit(lambda: held.wait(10))
    wait_until(lambda: len(pool.running()) == 2)

    # When
    taken = pool.take_back()

    # Then
    assert len(taken) == 8
    held.set()
    assert pool.drain(10)
    assert customer.ends == [Ended(True)] * 2


def test_an_item_that_is_given_up_leaves_its_place_to_the_next_one(pool, customer):
    # Given
    held, done = threading.Event(), threading.Event()
    stuck = [lambda: held.wait(10), lambda: held.wait(10)]
    for item in (*stuck, done.set):
        pool.submit(item)
    wait_until(lambda: len(pool.running()) == 2)

    # When
    assert pool.abandon(stuck[0]) is not None

    # Then
    assert done.wait(10)
    held.set()
    assert pool.drain(10)


def test_the_thread_of_a_pool_ends_when_it_is_closed(customer):
    pool = ExecutorPool(2, lambda: ThreadPoolExecutor(1), lambda job: job(), customer, lambda: None)
    pool.submit(lambda: None)
    assert pool.drain(10)
    thread = pool.thread
    pool.close()
    wait_until(lambda: not thread.is_alive())
