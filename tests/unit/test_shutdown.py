"""When a worker is to leave, and with which exit status."""

import pytest

from autotask.processes.exit_status import FAILED, RECYCLED
from autotask.worker.shutdown import RECYCLE_WITHIN, SAME_REQUEST, Shutdown


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(settings):
    settings.AUTOTASK_SHUTDOWN_GRACE = 5
    return Clock()


@pytest.fixture
def woken():
    return []


@pytest.fixture
def shutdown(clock, woken):
    return Shutdown(lambda: woken.append(True), clock)


def test_nobody_has_asked(shutdown):
    assert (shutdown.is_requested(), shutdown.seconds_left(), shutdown.exit_status) == (False, 0.0, 0)


def test_a_request_leaves_the_grace(shutdown, clock, woken):
    shutdown.stop()
    clock.now += 2
    assert (shutdown.is_requested(), shutdown.seconds_left(), shutdown.exit_status) == (True, 3.0, 0)
    assert woken


def test_asked_twice_it_leaves_at_once(shutdown, clock):
    shutdown.stop()
    clock.now += SAME_REQUEST
    shutdown.stop()
    assert shutdown.seconds_left() == 0.0


def test_two_signals_for_one_request_are_one(shutdown, clock):
    shutdown.stop()
    clock.now += SAME_REQUEST / 2
    shutdown.stop()
    assert shutdown.seconds_left() == 5 - SAME_REQUEST / 2


def test_a_worker_that_recycles_itself_has_more_time(shutdown):
    shutdown.recycle()
    assert (shutdown.seconds_left(), shutdown.exit_status) == (max(RECYCLE_WITHIN, 5), RECYCLED)


def test_a_worker_that_is_to_leave_anyway_recycles_itself_within_its_grace(shutdown):
    shutdown.stop()
    shutdown.recycle()
    assert (shutdown.seconds_left(), shutdown.exit_status) == (5, RECYCLED)


def test_the_first_request_after_a_change_of_the_code_leaves_the_grace(shutdown, clock):
    assert shutdown.renew()
    assert (shutdown.seconds_left(), shutdown.exit_status) == (5, RECYCLED)
    clock.now += 1
    shutdown.stop()
    assert shutdown.seconds_left() == 5


def test_a_change_of_the_code_is_nothing_to_a_worker_that_leaves(shutdown):
    shutdown.stop()
    assert not shutdown.renew()
    assert shutdown.exit_status == 0


def test_a_worker_that_cannot_begin_fails(shutdown):
    shutdown.fail()
    assert shutdown.exit_status == FAILED
