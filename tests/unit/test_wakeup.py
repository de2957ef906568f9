"""What comes through the pipe of a worker."""

import os
import select
import threading

import pytest
from hypothesis import given, strategies as st

from autotask.wakeup import WORD, Wakeup, handing


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for descriptor in ends:
        os.close(descriptor)


@pytest.fixture
def wakeup(pipe):
    wakeup = Wakeup(pipe[0])
    yield wakeup
    wakeup.close()


def test_a_word_says_that_something_was_enqueued(wakeup, pipe):
    os.write(pipe[1], WORD)
    assert wakeup.sleep(10)
    assert (wakeup.called, wakeup.handed) == (True, [])


def test_what_is_handed_over_is_not_taken_for_a_call(wakeup, pipe):
    os.write(pipe[1], handing(b"task"))
    assert wakeup.sleep(10)
    assert (wakeup.called, wakeup.handed) == (False, [b"task"])


def test_nothing_ends_a_sleep_but_its_time(wakeup):
    assert not wakeup.sleep(0)
    assert (wakeup.called, wakeup.handed) == (False, [])


def test_a_thread_ends_a_sleep_without_a_call(wakeup):
    threading.Timer(0.01, wakeup.wake).start()
    assert wakeup.sleep(10)
    assert not wakeup.called


@given(st.lists(st.one_of(st.none(), st.binary(max_size=200)), min_size=1, max_size=50))
def test_words_and_tasks_come_as_they_were_written_however_many_are_read_at_once(written):
    read, write = os.pipe()
    wakeup = Wakeup(read)
    try:
        for body in written:
            os.write(write, WORD if body is None else handing(body))
        assert wakeup.sleep(10)
        assert wakeup.handed == [body for body in written if body is not None]
        assert wakeup.called == (None in written)
    finally:
        wakeup.close()
        os.close(read)
        os.close(write)


def test_the_largest_that_is_handed_over_is_written_at_once():
    assert len(handing(b"x" * (select.PIPE_BUF - 3))) == select.PIPE_BUF
