"""The pipes between a Django process and its companion, at the end of the process."""

import contextlib
import os
import resource

import pytest

from autotask.companion.pipes import Pipes
from autotask.companion.supervisor import Supervisor
from autotask.own_worker import own
from autotask.wakeup import Wakeup


@pytest.fixture
def pipes():
    pipes = Pipes()
    yield pipes
    pipes.close()


def open_descriptors():
    found = set()
    for number in range(1000):
        with contextlib.suppress(OSError):
            os.fstat(number)
            found.add(number)
    return found


def test_what_is_handed_over_and_called_arrives(pipes):
    wakeup = Wakeup(os.dup(pipes.wake))
    pipes.hand_over(b"task")
    pipes.wake_worker()
    assert wakeup.sleep(10)
    assert (wakeup.handed, wakeup.called) == ([b"task"], True)
    wakeup.close()


def test_nobody_waits_for_a_pipe_that_is_full_nor_for_an_offer(pipes):
    for _ in range(1000):
        pipes.hand_over(b"x" * 1000)
        pipes.wake_worker()
    assert pipes.take_offer() is None


def test_no_descriptor_is_left_where_there_are_not_enough():
    before = open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    third_free = [number for number in range(1000) if number not in before][2]
    resource.setrlimit(resource.RLIMIT_NOFILE, (third_free + 1, hard))
    try:
        with pytest.raises(OSError):
            Pipes()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_descriptors() == before


def test_a_fork_hands_nothing_to_the_companion_of_its_parent():
    supervisor = Supervisor()
    own.wake, own.line = supervisor._pipes.wake_worker, supervisor._pipes
    supervisor.forget()
    assert (own.wake, own.line) == (None, None)
