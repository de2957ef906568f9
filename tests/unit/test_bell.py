"""The bell that wakes the threads of a pool."""

import threading
import time

from autotask.worker.pools.bell import Bell
from tests.helpers import wait_until


def asleep(bell, names):
    """Let threads fall asleep one after the other, and return the list to which each adds its name when it wakes."""
    woken, threads = [], []
    for name in names:
        threads.append(threading.Thread(target=lambda name=name: bell.wait(20) and woken.append(name), daemon=True))
        threads[-1].start()
        wait_until(lambda: len(bell._asleep) == len(threads))
    return woken


def test_each_ring_wakes_one_thread_and_that_is_the_last_to_have_fallen_asleep():
    # Given
    bell = Bell()
    woken = asleep(bell, "abc")

    # When, Then
    for number, expected in enumerate(("c", "cb", "cba"), 1):
        bell.ring()
        wait_until(lambda number=number: len(woken) == number)
        assert "".join(woken) == expected
    assert bell.is_silent()


def test_a_ring_that_nobody_hears_wakes_the_next_thread_that_would_sleep():
    bell = Bell()
    bell.ring()
    assert not bell.is_silent()
    assert bell.wait(0)
    assert bell.is_silent()
    assert not bell.wait(0)


def test_a_thread_that_sleeps_no_more_is_not_rung_for():
    # Given
    bell = Bell()
    woken = asleep(bell, "a")
    assert not bell.wait(0.001)

    # When
    bell.ring()

    # Then
    wait_until(lambda: woken == ["a"])


def test_no_ring_is_lost_when_threads_sleep_for_moments_only():
    # Given threads whose time is over just when the bell rings, again and again
    bell, heard, over = Bell(), [], threading.Event()

    def listen():
        while not over.is_set():
            if bell.wait(0.0001):
                heard.append(None)

    threads = [threading.Thread(target=listen) for _ in range(4)]
    for thread in threads:
        thread.start()

    # When
    for _ in range(2000):
        bell.ring()
        time.sleep(0)

    # Then
    wait_until(lambda: len(heard) == 2000 and bell.is_silent())
    over.set()
    for thread in threads:
        thread.join()
