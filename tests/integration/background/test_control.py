"""Start and stop, from any process, and what happens when something fails."""

import signal
import time
from typing import Any

import pytest
from django.db import connection, transaction

from autotask import acts
from autotask.background import background_worker
from autotask.exceptions import CannotStopHere, UnknownOption
from autotask.models import Attempt, Result, Task
from autotask.store import background, background_hosting, background_read
from autotask.task import DONE, ERROR
from tests.helpers import patient, wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start


@pytest.fixture
def clean(transactional_db: None) -> None:
    """Use the tables without a worker."""


def test_start_says_whether_it_was_stopped(clean: None) -> None:
    assert [tasks.endless.start(), tasks.endless.start(), tasks.endless.restart()] == [True, False, True]
    tasks.endless.stop()
    assert tasks.endless.start()


def test_a_start_that_is_rolled_back_is_none(clean: None) -> None:
    with pytest.raises(KeyError), transaction.atomic():
        tasks.endless.start()
        tasks.handle.put(1)
        raise KeyError
    assert not tasks.endless.is_active()
    assert not Task.objects.exists()


def test_a_start_that_does_not_fit_is_refused(clean: None) -> None:
    with pytest.raises(TypeError, match="too many positional arguments. Nothing was started"):
        tasks.pause_before.start(1)
    with pytest.raises(UnknownOption, match="'_intervall'.*did you mean '_interval'"):
        tasks.tick.start(_intervall=1)
    assert not tasks.pause_before.is_active()


def test_stop_in_a_transaction_does_not_wait_for_ever(start: Start, lines: Lines) -> None:
    with transaction.atomic():
        tasks.endless.stop()  # nobody hosts it
    start()
    tasks.endless.start()
    lines.wait_for("endless")
    with transaction.atomic():
        with pytest.raises(CannotStopHere, match="wait=False"):
            tasks.endless.stop()
        tasks.endless.stop(wait=False)
        assert not tasks.endless.is_active()
    wait_until(tasks.endless.is_stopped)


def test_one_that_stops_itself_does_not_wait_for_itself(start: Start, lines: Lines) -> None:
    start()
    tasks.stops_itself.start()
    lines.wait_for("stops_itself")
    wait_until(tasks.stops_itself.is_stopped)
    assert len(lines.all("stops_itself")) == 1


def test_restart_takes_the_new_arguments(start: Start, lines: Lines) -> None:
    start()
    tasks.tick.start(_name="one")
    lines.wait_for("tick")
    tasks.tick.restart(_name="two")
    wait_until(lambda: "two" in lines.words("tick"))


def test_errors_are_counted_given_to_on_error_and_followed_by_longer_pauses(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEBACKS", "1")
    program = start()
    tasks.failing.start()
    first, second, third = lines.wait_for("failing", 3)[:3]
    assert lines.all("on_error")[0][3:] == ["mail", "as always"]
    assert 0.9 < second[0] - first[0] < 1.9
    assert 1.9 < third[0] - second[0] < 1.9 + patient(1)
    tasks.failing.stop()
    (stored,) = background_read.read(connection, tasks.failing.name)
    (instance,) = stored.instances
    assert instance.runs == instance.errors >= 3
    assert "ValueError: as always" in instance.last_error
    assert f"The background worker {tasks.failing.name} failed; it continues" in program.output()


def test_a_message_that_raises_is_an_error_and_the_next_is_handled(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEBACKS", "1")
    start()
    tasks.handle.start()
    bad, good = tasks.handle.put({"raise": "bad luck"}), tasks.handle.put("good")
    wait_until(lambda: (bad.status, good.status) == (ERROR, DONE))
    assert Result.objects.get(id=bad.id).error_message == "ValueError: bad luck"
    assert "bad luck" in Attempt.objects.get(task_id=bad.id).traceback


def test_false_from_a_message_stops_the_worker_and_the_rest_is_kept(start: Start, lines: Lines) -> None:
    start()
    tasks.handle.start()
    tasks.handle.put({"value": False})
    tasks.handle.put("the rest")
    wait_until(lambda: not tasks.handle.is_active() and tasks.handle.is_stopped())
    assert lines.words("handle") == [{"value": False}]
    assert background_read.read(connection, tasks.handle.name)[0].ended == "its function has returned False"
    tasks.handle.start()
    lines.wait_for("handle", 2)


def test_it_runs_with_the_site_unless_told_otherwise(start: Start, lines: Lines) -> None:
    declared = background.Declared(tasks.endless.name, "continuous", "site", "default", True)
    background_hosting.declare(connection, [declared], new=True)
    start()
    lines.wait_for("endless")


def test_only_workers_that_serve_its_queue_host_it(start: Start, lines: Lines) -> None:
    tasks.endless.start()
    start("--queues=other")
    program = start("--queues=default")
    assert {line[1] for line in lines.wait_for("endless", 3)} == {program.pid}


def test_too_many_are_reported_and_left(start: Start, lines: Lines) -> None:
    tasks.endless.start()
    tasks.tick.start()
    program = start(BACKGROUND_THREADS=1)
    lines.wait_for("endless")
    wait_until(lambda: "AUTOTASK_BACKGROUND_THREADS allows (1)" in program.output())
    assert not tasks.tick.is_started()


def test_without_autotask_nothing_starts_and_messages_are_handled_in_place(settings: Any) -> None:
    settings.AUTOTASK_IS_ACTIVE = False
    seen = []

    @background_worker(queue=True)
    def in_place(task: Any) -> None:
        seen.append(task)

    assert in_place.put("value") is None
    assert (in_place.start(), in_place.stop()) == (False, None)
    assert seen == ["value"]


@pytest.mark.parametrize("name", ["patient", "stubborn", "endless_coroutine", "handle", "tick", "rebuild", "endless"])
def test_each_ends_within_the_grace_of_its_worker(start: Start, lines: Lines, name: str) -> None:
    worker = getattr(tasks, name)
    program = start(SHUTDOWN_GRACE=1)
    worker.start(*([60] if name == "tick" else []))
    if name == "handle":
        worker.put({"seconds": 0.5})
    elif name == "rebuild":
        worker.trigger()
    lines.wait_for(name)
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert time.monotonic() - began < 1 + patient(3)
    assert "Traceback" not in program.output()
    ends = {"patient": "asked", "stubborn": "interrupted", "endless_coroutine": "cancelled"}
    ends |= {"handle": "handled", "tick": "ticked", "rebuild": "rebuilt"}
    if name in ends:
        assert len(lines.all(ends[name])) == 1
    assert worker.is_stopped()
    assert worker.is_active()


def test_a_value_can_be_cancelled_and_paused(start: Start, lines: Lines) -> None:
    tasks.handle.put("never").cancel()
    acts.pause(task=tasks.handle.definition.name)
    handle = tasks.handle.put("later")
    start()
    tasks.handle.start()
    tasks.sender.start()
    tasks.sender.put("now")
    lines.wait_for("send")
    wait_until(tasks.handle.is_started)
    time.sleep(1)
    assert not lines.all("handle")
    acts.resume(task=tasks.handle.definition.name)
    handle.wait(patient(3))
    assert lines.words("handle") == ["later"]
