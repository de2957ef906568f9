"""What a run of the tests waits for before it drops its databases."""

import threading
import time

from django.db import connection

from autotask.store.connection import rows
from tests.helpers import wait_until_sessions_end


def test_a_session_that_ends_in_a_moment_is_waited_for(other_connection):
    rows(other_connection, "SELECT 1")

    def end_soon():
        time.sleep(0.3)
        other_connection.close()

    thread = threading.Thread(target=end_soon)
    other_connection.inc_thread_sharing()
    thread.start()
    assert wait_until_sessions_end(connection) == []
    thread.join()


def test_a_session_that_stays_is_named_and_ended(other_connection):
    pid = rows(other_connection, "SELECT pg_backend_pid()")[0][0]
    assert [(left[0], left[1]) for left in wait_until_sessions_end(connection, 0.1) if left[0] == pid] == [
        (pid, "autotask test")
    ]
    assert wait_until_sessions_end(connection) == []
