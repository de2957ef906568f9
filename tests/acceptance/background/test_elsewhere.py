"""Background workers that run in other processes, several at a time, or one on each host or in each worker."""

import pickle
import signal
import time
import uuid

import pytest
from django.db import connection, transaction

from autotask.models import BackgroundTrigger, Task
from autotask.store import background_read
from autotask.task import DONE
from autotask.worker.background.call import Call
from autotask.worker.background.elsewhere import OwnProcess
from tests.helpers import patient, wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start


def test_a_static_run_is_in_a_process_of_its_own_and_its_result_here(
    start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEBACKS", "1")
    program = start(SHUTDOWN_GRACE=5)
    tasks.adder.start(o="object")
    assert [tasks.adder.put(value).wait(30) for value in (1, 2)] == [None, None]
    assert lines.words("added") == [2, 3]
    assert {line[1] for line in lines.all("added")} == {program.pid}
    assert program.pid not in {line[1] for line in lines.all("add")}
    assert lines.all("add")[0][4] == "object"
    # What it raises is that exception here, and nothing hangs.
    failed = tasks.adder.put("text")
    wait_until(lambda: failed.ready)
    assert failed.error_message.startswith("TypeError: can only concatenate str")
    assert lines.words("add_error")[0].startswith("can only concatenate str")
    # One that kills its process is handled again, until it has killed too many.
    killer = tasks.adder.put(None)
    wait_until(lambda: killer.ready, 60)
    assert "SIGKILL" in killer.error_message
    assert lines.words("add").count(None) == 3
    tasks.adder.put(99)
    wait_until(tasks.adder.is_stopped)  # process_result() has returned False
    assert not tasks.adder.is_active()


def test_a_run_in_another_process_ends_with_its_worker(start: Start, lines: Lines) -> None:
    program = start(SHUTDOWN_GRACE=5)
    tasks.adder.start()
    tasks.adder.put("wait")
    lines.wait_for("add")
    began = time.monotonic()
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert time.monotonic() - began < patient(4)
    assert lines.words("asked") == [False]


def test_it_can_run_in_an_executor_of_the_project(start: Start, lines: Lines) -> None:
    program = start()
    tasks.in_pool.start()
    assert program.pid not in {line[1] for line in lines.wait_for("in_pool", 3)}
    tasks.in_pool.stop()
    [stored] = background_read.read(connection, tasks.in_pool.name)
    wait_until(lambda: background_read.read(connection, tasks.in_pool.name)[0].instances[0].runs >= 3)
    assert stored.instances[0].errors == 0


def test_several_values_are_handled_at_a_time_and_begin_in_order(start: Start, lines: Lines) -> None:
    for number in range(9):
        tasks.three.put(number)
    start()
    tasks.three.start()
    lines.wait_for("three_ended", 9)
    begun, at_once, most = [], set(), 0
    for line in [json_line for word in ("three", "three_ended") for json_line in lines.all(word)]:
        begun.append((line[0], line[2], line[3]))
    for _, word, number in sorted(begun):
        (at_once.add if word == "three" else at_once.discard)(number)
        most = max(most, len(at_once))
    assert most == 3
    assert sorted(lines.words("three")) == list(range(9))
    assert all(abs(place - number) < 3 for place, number in enumerate(lines.words("three")))
    tasks.three.stop()
    assert not Task.objects.exists()


def test_those_of_several_processes_share_a_queue_and_all_hear_a_trigger(start: Start, lines: Lines) -> None:
    programs = {start().pid, start().pid}
    tasks.everywhere.start()
    tasks.shared.start()
    wait_until(lambda: len(background_read.read(connection, tasks.everywhere.name)[0].instances) == 2)
    wait_until(lambda: len(background_read.read(connection, tasks.shared.name)[0].instances) == 2)
    for number in range(60):
        tasks.shared.put(number)
    lines.wait_for("shared", 60)
    wait_until(lambda: not Task.objects.exists())
    assert sorted(lines.words("shared")) == list(range(60))
    assert {line[1] for line in lines.all("shared")} == programs
    for _ in range(3):
        assert tasks.everywhere.trigger() is None
    wait_until(lambda: {line[1] for line in lines.all("everywhere")} == programs)
    tasks.everywhere.trigger()  # during the run: one more
    wait_until(lambda: not BackgroundTrigger.objects.exists())
    assert 4 <= len(lines.all("everywhere")) <= 6


def test_a_trigger_for_a_host_is_kept_until_another_worker_takes_over(start: Start, lines: Lines) -> None:
    program = start()
    tasks.of_host_by_clock.start()
    lines.wait_for("by_clock")
    tasks.of_host_by_clock.trigger()
    lines.wait_for("by_clock", 2)
    wait_until(lambda: not BackgroundTrigger.objects.exists())
    program.kill()
    tasks.of_host_by_clock.trigger()
    assert BackgroundTrigger.objects.count() == 1
    start()
    lines.wait_for("by_clock", 4)  # at first as any interval worker, and for the trigger
    wait_until(lambda: not BackgroundTrigger.objects.exists())


def test_a_trigger_for_a_host_is_kept_when_its_run_is_interrupted(start: Start, lines: Lines) -> None:
    program = start(SHUTDOWN_GRACE=0.5)
    tasks.of_host_for_long.start()
    wait_until(tasks.of_host_for_long.is_started)
    tasks.of_host_for_long.trigger()
    lines.wait_for("for_long")
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert BackgroundTrigger.objects.count() == 1


def test_a_run_is_asked_to_stop_that_begins_only_then() -> None:
    place = OwnProcess()
    call = Call(tasks.adder.definition.name, tasks.__name__, None, uuid.uuid4(), pickle.dumps(("wait",)), "id")
    place.ask()
    began = time.monotonic()
    try:
        place.run(call)
    finally:
        place.close()
    assert time.monotonic() - began < patient(15)


def test_values_that_are_retried_are_handled_soon(start: Start, lines: Lines) -> None:
    start()
    tasks.again.start()
    handle = tasks.again.put(0.5)
    lines.wait_for("again", 2)
    first, second = lines.all("again")
    assert second[0] - first[0] < patient(2)
    wait_until(lambda: handle.status == DONE)
    tasks.sender.start()
    wait_until(tasks.sender.is_started)
    with transaction.atomic():
        cancelled = tasks.sender.put("cancelled")
        cancelled.cancel()
    time.sleep(0.5)
    retried_at = time.time()
    cancelled.retry()
    assert lines.wait_for("send")[0][0] - retried_at < patient(2)
