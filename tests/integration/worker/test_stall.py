"""The database gives no answer: the log says so, and a worker that is to stop ends all the same."""

import os
import signal
import threading

import pytest

from autotask.store.connection import dedicated, rows
from autotask.wakeup import Wakeup
from autotask.worker import stall
from autotask.worker.outage import Outage
from autotask.worker.stall import StallWatch
from tests.helpers import patient, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sleeping(transactional_db):
    """A connection of a worker that waits for an answer for a second."""
    connection = dedicated("claim")
    thread = threading.Thread(target=lambda: rows(connection.wrapper, "SELECT pg_sleep(1)"))
    thread.start()
    yield
    thread.join()
    connection.close()


@pytest.fixture
def watch(settings, monkeypatch):
    """A watch that is quicker to say something, and that tells what it would do to the process."""
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.3
    monkeypatch.setattr(stall, "SAY_EVERY", 0.2)
    monkeypatch.setattr(stall, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(stall, "TAKE_OVER", 0.1)
    monkeypatch.setattr(stall, "LAST", 0.2)
    monkeypatch.setattr(stall, "SAME_REQUEST", 0.0)
    monkeypatch.setattr(Outage, "_told_at", float("-inf"))
    monkeypatch.setattr(StallWatch, "_leave", lambda self, seconds: self.left.append(seconds))
    wakeup = Wakeup()
    watch = StallWatch(wakeup, lambda over: watch.asked.append(over), lambda: 0)
    watch.asked, watch.left, watch.wakeup = [], [], wakeup
    watch.start()
    yield watch
    watch.stop()
    for thread in (watch.thread, watch.asking_thread):
        if thread is not None:
            thread.join(patient(10))


def test_a_missing_answer_is_logged_once_in_a_while_and_when_it_has_come(watch, sleeping, caplog):
    caplog.set_level("INFO", "autotask.worker")
    wait_until(lambda: "The database answers again" in caplog.text)
    assert caplog.text.count("The database has not answered for 0 s") == 1
    assert "(connection: claim)" in caplog.text
    assert watch.asked == watch.left == []


def test_a_worker_that_cannot_notice_a_stop_is_stopped_when_its_grace_is_over(watch, sleeping):
    # When
    os.write(watch.signal_fd, bytes([signal.SIGTERM]))

    # Then
    assert watch.wakeup.sleep(5)
    wait_until(lambda: watch.left, what="its end")
    assert watch.asked == sorted(watch.asked) and watch.asked[-1] is True


def test_a_second_request_to_stop_ends_the_grace(watch, sleeping, settings):
    # Given
    settings.AUTOTASK_SHUTDOWN_GRACE = 60
    os.write(watch.signal_fd, bytes([signal.SIGTERM]))
    wait_until(lambda: watch.asked, what="the first request")
    assert watch.asked[0] is False

    # When
    os.write(watch.signal_fd, bytes([signal.SIGTERM]))

    # Then
    wait_until(lambda: watch.left, what="its end")
    assert watch.asked[-1] is True


def test_other_signals_and_answers_that_come_end_nothing(watch):
    os.write(watch.signal_fd, bytes([signal.SIGCHLD, signal.SIGTERM]))
    assert watch.wakeup.sleep(5)
    wait_until(lambda: watch._asked_at is not None)
    assert not threading.Event().wait(0.6)
    assert watch.asked == watch.left == []
