"""Statements that are sent while something else is done."""

import threading

import pytest
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store.ahead import Ahead
from autotask.store.connection import current, dedicated, execute, unanswered
from tests.helpers import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not is_psycopg3, reason="psycopg2 cannot do something else meanwhile"),
]

LOCK = 4711


@pytest.fixture
def of_a_worker(transactional_db):
    connection = dedicated("role of a test")
    yield connection
    connection.close()


def test_the_stall_watch_sees_that_its_answer_does_not_come(of_a_worker):
    # Given
    execute(current(), f"SELECT pg_advisory_lock({LOCK})")
    ahead = Ahead(
        of_a_worker.wrapper, "SELECT %(found)s FROM pg_advisory_xact_lock(%(lock)s)", {"found": 7, "lock": LOCK}
    )
    ahead.send()
    assert of_a_worker.asked_at is None  # Nobody waits yet.
    answers: list[int] = []

    # When
    asking = threading.Thread(target=lambda: answers.append(ahead.answer()))
    asking.start()

    # Then
    try:
        wait_until(lambda: (unanswered() or (0.0, ""))[1] == "role of a test", what="a connection that waits")
    finally:
        execute(current(), f"SELECT pg_advisory_unlock({LOCK})")
        asking.join()
    assert answers == [7] and of_a_worker.asked_at is None
