"""What background workers do when answers are lost, outcomes are refused, and people act at an unlucky moment."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import OperationalError, connection, transaction

from autotask.acts import tasks as task_acts
from autotask.models import BackgroundWorker, LiveTask, Result, Task
from autotask.store import background, background_hosting
from autotask.store.background_hosting import Grant
from autotask.store.connection import execute, rows
from autotask.task import CANCELLED, DONE, ERROR, State
from autotask.worker.background import loops
from autotask.worker.background.inbox import Inbox
from autotask.worker.background.instance import Instance, Parts
from tests.helpers import patient, wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start
from tests.integration.store.shapes import let_run


def worker_id() -> Any:
    """Return the id of the only worker in the register."""
    [(id,)] = rows(connection, "SELECT id FROM autotask_worker")
    return id


def take(name: str) -> Grant:
    """Take an instance for the only worker, which does not know of it: as if the answer to its statement was lost."""
    [seen], _ = background_hosting.look(connection, [(name, "")])
    grant = background_hosting.take(connection, seen, worker_id())
    assert grant is not None
    return grant


def test_an_instance_that_was_taken_without_an_answer_runs(start: Start, lines: Lines) -> None:
    start()
    wait_until(lambda: BackgroundWorker.objects.filter(name=tasks.endless.name))
    with transaction.atomic():  # or the worker itself could be faster
        execute(connection, background.START_KNOWN, {"name": tasks.endless.name, "start_id": worker_id()})
        take(tasks.endless.name)
    background.tell(connection)
    lines.wait_for("endless")


def test_a_trigger_is_handled_though_each_run_takes_longer_than_the_interval(start: Start, lines: Lines) -> None:
    start()
    tasks.tick.start(0.3, _interval=0.1)
    lines.wait_for("ticked", 2)
    handle = tasks.tick.trigger()
    assert handle is not None
    wait_until(lambda: handle.status == DONE)


def test_stop_does_not_wait_for_what_others_have_started_since(start: Start, lines: Lines) -> None:
    start()
    tasks.handle.start()
    tasks.handle.put({"seconds": 1})
    lines.wait_for("handle")
    waiting = threading.Thread(target=_stop, daemon=True)
    waiting.start()
    wait_until(lambda: not tasks.handle.is_active())
    tasks.handle.start()
    waiting.join(patient(15))
    assert not waiting.is_alive()
    assert lines.all("handled")
    assert tasks.handle.is_active()


def _stop() -> None:
    try:
        tasks.handle.stop()
    finally:
        connection.close()


def test_nobody_takes_an_instance_while_somebody_stops_it(start: Start) -> None:
    start()
    wait_until(lambda: BackgroundWorker.objects.filter(name=tasks.rebuild.name))
    execute(connection, background.START_KNOWN, {"name": tasks.rebuild.name, "start_id": worker_id()})
    [seen], _ = background_hosting.look(connection, [(tasks.rebuild.name, "")])
    stopped, over = threading.Event(), threading.Event()

    def stop() -> None:
        try:
            with transaction.atomic():
                background.stop_known(connection, tasks.rebuild.name)
                stopped.set()
                over.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        assert stopped.wait(20)
        assert background_hosting.take(connection, seen, worker_id()) is None
    finally:
        over.set()
        thread.join()


def test_an_outcome_that_the_database_refuses_is_an_error_and_holds_up_nothing(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEBACKS", "1")
    execute(connection, "ALTER TABLE autotask_result ADD CONSTRAINT picky CHECK (state <> 3 OR priority <> 7)")
    try:
        start()
        tasks.handle.start()
        refused, other = tasks.handle.put(1, priority=7), tasks.handle.put(2)
        assert refused is not None
        assert other is not None
        wait_until(lambda: other.status == DONE)
        assert refused.status == ERROR
        assert "could not be stored" in Result.objects.get(id=refused.id).error_message
        assert lines.words("handle") == [1, 2]
    finally:
        execute(connection, "ALTER TABLE autotask_result DROP CONSTRAINT picky")


def test_a_value_that_was_cancelled_in_its_run_can_be_retried(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEBACKS", "1")
    start()
    tasks.handle.start()
    handle = tasks.handle.put({"seconds": 1, "raise": "as asked"})
    assert handle is not None
    lines.wait_for("handle")
    handle.cancel()
    wait_until(lambda: handle.status == CANCELLED)
    assert task_acts.retry([handle.id])[0].is_done
    lines.wait_for("handled", 2)
    ended = wait_until(lambda: Result.objects.filter(id=handle.id).first())
    assert ended.state == State.ERROR


def test_messages_that_an_ended_instance_has_claimed_are_given_back(start: Start, lines: Lines) -> None:
    start()
    tasks.handle.start()
    tasks.handle.put("first")
    lines.wait_for("handle")
    wait_until(lambda: not Task.objects.exists())
    with transaction.atomic():  # as after a loop that has failed
        handle = tasks.handle.put("claimed")
        let_run(handle.id, worker=worker_id())
    tasks.handle.stop()
    assert list(LiveTask.objects.values_list("state", "attempt")) == [(State.READY, 0)]


def test_triggers_are_looked_for_again_after_the_database_was_away() -> None:
    def borrow() -> Any:
        raise OperationalError("away")

    registration = SimpleNamespace(id="host", is_fresh=lambda: True)
    parts = cast(Parts, SimpleNamespace(registration=registration, lending=SimpleNamespace(borrow=borrow)))
    grant = Grant(tasks.rebuild.name, "", 1, cast(Any, None), None)
    instance = Instance(tasks.rebuild, grant, tasks.rebuild.here_after((), {}), parts, loops.event)
    instance._mine.lane = instance.lanes[0]
    instance.ask()  # or it would wait longer until the next try
    assert Inbox(instance).handle_triggers()


def test_an_instance_of_a_former_name_of_its_worker_runs_nothing_more() -> None:
    registration = SimpleNamespace(id="new", is_fresh=lambda: True)
    parts = cast(Parts, SimpleNamespace(registration=registration))
    grant = Grant(tasks.endless.name, "", 1, cast(Any, None), None)
    instance = Instance(tasks.endless, grant, tasks.endless.here_after((), {}), parts, loops.endless)
    assert instance.may_run()
    registration.id = "newer"
    assert not instance.may_run()
    assert instance.here.control.asked
