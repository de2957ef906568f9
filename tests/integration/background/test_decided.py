"""Who decides whether a background worker runs: people, its function, or else the code."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from autotask.acts import background as acts
from autotask.acts.answers import Refusal
from autotask.doctor import background as checks
from autotask.doctor.diagnosis import Patient
from autotask.models import BackgroundWorker
from autotask.store import background_hosting
from autotask.store.connection import execute
from tests.helpers import wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start

pytestmark = pytest.mark.django_db(transaction=True)


def declare(worker: Any, *, new: bool = False, **changes: Any) -> int:
    """Declare a background worker as code would that says something else."""
    return background_hosting.declare(connection, [worker.declared()._replace(**changes)], new=new)


def age() -> None:
    """Let all have been declared long ago."""
    execute(connection, "UPDATE autotask_background SET declared_at = clock_timestamp() - interval '2 days'")


def test_one_starts_once_the_code_says_so_unless_somebody_has_stopped_it() -> None:
    for worker in (tasks.endless, tasks.handle, tasks.tick):
        declare(worker, new=True)
    tasks.handle.stop()
    tasks.tick.start()
    tasks.tick.stop()
    for worker in (tasks.endless, tasks.handle, tasks.tick):
        declare(worker, autostart=True)
    assert [worker.is_active() for worker in (tasks.endless, tasks.handle, tasks.tick)] == [True, False, False]
    # Older code does not stop it, and its start stays the same.
    before = BackgroundWorker.objects.get(name=tasks.endless.name).start_id
    declare(tasks.endless)
    declare(tasks.endless, autostart=True)
    assert BackgroundWorker.objects.get(name=tasks.endless.name).start_id == before


def test_a_worker_starts_one_that_its_code_starts_since_lately(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(tasks.endless, new=True)
    monkeypatch.setenv("BACKGROUND_STARTS", "endless")
    start()
    lines.wait_for("endless")


def test_what_people_have_decided_is_never_forgotten() -> None:
    for worker in (tasks.endless, tasks.handle, tasks.tick):
        declare(worker, new=True)
    tasks.handle.stop()
    tasks.tick.start()
    age()
    background_hosting.forget(connection)
    assert set(BackgroundWorker.objects.values_list("name", flat=True)) == {tasks.handle.name, tasks.tick.name}


def test_one_that_is_gone_can_be_forgotten_on_purpose() -> None:
    tasks.tick.start()
    assert [answer.refused for answer in acts.forget([tasks.tick.name])] == [Refusal.IN_CODE]
    age()
    assert [answer.refused for answer in acts.forget([tasks.tick.name])] == [None]
    assert not BackgroundWorker.objects.exists()


def test_a_start_in_a_long_transaction_holds_up_no_other() -> None:
    begun, over = threading.Event(), threading.Event()

    def start() -> None:
        try:
            with transaction.atomic():
                tasks.endless.start()
                begun.set()
                over.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert begun.wait(20)
        execute(connection, "SET lock_timeout = '2s'")
        both = [tasks.endless.declared(), tasks.handle.declared()]
        assert background_hosting.declare(connection, both, new=True) == 1
        assert list(BackgroundWorker.objects.values_list("name", flat=True)) == [tasks.handle.name]
    finally:
        execute(connection, "RESET lock_timeout")
        over.set()
        thread.join()
    wait_until(tasks.endless.is_active)


def test_the_doctor_names_messages_that_no_code_handles() -> None:
    tasks.handle.put(1)
    tasks.handle.put(2)
    patient = Patient()
    try:
        assert f"2 for {tasks.handle.name}" in str(checks.look_at_messages(patient))
        declare(tasks.handle, new=True)
        assert "has a background worker" in str(checks.look_at_messages(patient))
        age()
        assert tasks.handle.name in str(checks.look_at_messages(patient))
    finally:
        patient.close()
