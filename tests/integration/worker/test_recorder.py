"""What the recorder says at its end."""

import uuid

import pytest

from autotask.worker.recorder import Recorder
from autotask.worker.reporter import Reporter
from autotask.worker.strangers import Strangers
from tests.integration.store.shapes import outcome, put, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)


def test_outcomes_that_were_given_up_at_the_very_end_do_not_count_as_written(monkeypatch):
    # Given a recorder that cannot reach the database, and whose thread ends before its end can be looked at
    put()
    (claimed,) = take(sign_on())
    let_go = []
    recorder = Recorder(uuid.uuid4, let_go.append, Reporter(lambda claim: True), Strangers())
    recorder._connection._settings |= {"HOST": "127.0.0.1", "PORT": "1"}
    close = recorder._closing.set

    def close_and_wait():
        close()
        recorder._thread.join(20)

    monkeypatch.setattr(recorder._closing, "set", close_and_wait)
    recorder.start()
    recorder.put((claimed, outcome(claimed)))

    # When
    written = recorder.stop(0.5)

    # Then
    assert not recorder._thread.is_alive()
    assert not written and not let_go
