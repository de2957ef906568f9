"""Why a task does not run that was stored as claimed by an idle worker, which was stopped before it could begin."""

import os
import signal

import pytest

from autotask.store import read
from autotask.store.connection import current, rows
from autotask.why import Code
from tests.helpers import patient, wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

IDLE = "SELECT idle FROM autotask_worker"


def test_a_task_of_a_worker_that_is_stopped_is_not_said_to_run(start_crew, settings, monkeypatch):
    # Given
    settings.AUTOTASK_HEARTBEAT = 0.2
    monkeypatch.setenv("AUTOTASK_HEARTBEAT", "0.2")
    start_crew()
    wait_until(lambda: rows(current(), IDLE) == [(True,)], what="an idle worker")
    [worker] = read.workers(current())
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        # When
        handle = tasks.echo("at last")
        codes: list[Code] = []

        # Then
        def is_stalled() -> bool:
            codes.append(handle.why().code)
            assert codes[-1] in (Code.READY, Code.RUNNING, Code.WORKER_STALLED), codes
            return codes[-1] is Code.WORKER_STALLED

        wait_until(is_stalled, patient(20), what="the reason that its worker hangs")
        assert f"{worker.pid} hangs" in handle.why().sentence
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    assert handle.wait(patient(20)) == "at last"
