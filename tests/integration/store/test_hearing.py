"""Whether NOTIFY is heard through a pooler is found out by trying."""

import threading
import time

import pytest
from django.db import OperationalError
from django.test.utils import CaptureQueriesContext

from autotask.store import connection as connections_module, hearing
from autotask.store.connection import Dedicated, current, dedicated, rows
from autotask.store.hearing import Trial
from autotask.store.listening import Listening
from tests.helpers import wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def through_pooler(transactional_db, monkeypatch):
    """A worker's own connection as it is behind a pooler, which hides the process ids of the server."""
    monkeypatch.setattr(hearing, "_latest", {})
    set_session = Dedicated._set_session
    monkeypatch.setattr(
        Dedicated, "_set_session", lambda self, wrapper, condition="": not condition and set_session(self, wrapper)
    )
    connection = dedicated("test")
    yield connection
    connection.close()


class Shared:
    """A connection whose session is that of all others of this kind."""

    def __init__(self, wrapper):
        self._wrapper = wrapper

    def __getattr__(self, name):
        return getattr(self._wrapper, name)

    def close(self):
        """Leave it open for the others."""


def settle(trial):
    wait_until(lambda: trial.keeps is not None, what="the end of the trial")
    return trial.keeps


def test_where_each_connection_has_a_session_it_is_heard_and_what_the_session_needs_is_set(through_pooler):
    # Given
    assert through_pooler.wrapper and through_pooler.pooled
    assert rows(through_pooler.wrapper, "SHOW statement_timeout") == [("0",)]

    # When
    wait_until(lambda: through_pooler.hears() is not None, what="the end of the trial")

    # Then
    assert through_pooler.hears() is True
    assert rows(through_pooler.wrapper, "SHOW statement_timeout") == [("10s",)]


def test_where_connections_share_a_session_nothing_is_set_and_nobody_listens(through_pooler, monkeypatch):
    # Given
    shared = through_pooler._connected()
    monkeypatch.setattr(through_pooler, "_connected", lambda: Shared(shared))

    # When
    wait_until(lambda: through_pooler.hears() is not None, what="the end of the trial")

    # Then
    assert through_pooler.hears() is False
    assert rows(shared, "SELECT pg_listening_channels()") == []
    assert rows(shared, "SHOW statement_timeout") == [("0",)]
    shared.close()


def test_what_one_connection_hears_of_itself_shows_nothing(other_connection, monkeypatch):
    # Given: sessions that change hands so seldom that one does not see it
    monkeypatch.setattr(hearing, "_process_id", id)
    monkeypatch.setattr(hearing, "PATIENCE", 0.2)

    # When
    listening, telling = Shared(other_connection), Shared(other_connection)

    # Then
    assert hearing._hears(listening, telling) is False
    assert rows(other_connection, "SELECT pg_listening_channels()") == []


def test_connections_that_are_opened_together_share_a_trial(through_pooler):
    first, second = through_pooler.trial(), dedicated("test").trial()
    assert first is second and settle(first)
    first.began = time.monotonic() - hearing.SHARED - 1
    second = through_pooler.trial()
    assert second is not first and settle(second)  # or its connections would outlast this test


def test_where_nothing_was_found_out_it_is_tried_again_after_a_while(through_pooler, monkeypatch):
    # Given
    def no_connection_left():
        raise OperationalError("no more connections allowed")

    with monkeypatch.context() as patched:
        patched.setattr(through_pooler, "_connected", no_connection_left)
        trial = through_pooler.trial()
    assert trial.keeps is None and through_pooler.trial() is trial

    # When
    trial.began = time.monotonic() - hearing.AGAIN - 1

    # Then
    assert settle(through_pooler.trial())


def test_who_waits_behind_a_pooler_that_shares_sessions_does_not_listen(worker, monkeypatch):
    # Given
    trial = Trial(lambda: None)
    trial.keeps = False
    monkeypatch.setattr(connections_module, "_callers", trial)
    handle = tasks.pass_gate("deaf")

    # When
    def look():
        wait_until(lambda: tasks.gate("deaf reached").is_set())
        tasks.gate("deaf").set()

    threading.Thread(target=look).start()
    with CaptureQueriesContext(current()) as asked:
        value = handle.wait(20)

    # Then
    assert value == "deaf"
    assert not [query for query in asked.captured_queries if "LISTEN" in query["sql"]]


def test_who_has_not_listened_again_after_a_lost_connection_has_nothing_to_hear(transactional_db):
    # Given
    connection = dedicated("tests")
    listening = Listening(connection, lambda: ("tests",))
    wait_until(listening.renew, what="it to listen")

    # When
    connection.close()
    connection.wrapper  # noqa: B018 - it is opened anew

    # Then
    assert listening.fileno() is None
    listening.renew()
    assert listening.fileno() is not None
    connection.close()
