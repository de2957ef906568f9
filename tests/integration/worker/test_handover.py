"""Tasks that a process hands over to its idle companion, and their way when that goes wrong."""

import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, ProgrammingError, connections, transaction

from autotask import handover, offer as offer_module
from autotask.handle import TaskHandle
from autotask.offer import OVERDUE, Offer
from autotask.processes import readable
from autotask.store import claim, enqueue, forgotten, rescue
from autotask.store.connection import current, execute, rows
from autotask.store.survey import Chore
from autotask.task import CANCELLED, DONE, RUNNING, WAITING
from autotask.worker import idle, loop, receiver
from autotask.worker.claiming.claimer import Claimer
from autotask.worker.idle import IdleSleep
from tests.gates import gate
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import let_be_ready
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def companion(serve, pipes):
    """A worker at the other end of the pipes that has nothing to do."""
    worker = serve()
    until_offered(pipes)
    return worker


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "calls")


@pytest.fixture
def searched(monkeypatch):
    """The ids of the tasks that were found by looking for them."""
    ids = []

    def claim_and_note(*args, **options):
        claimed = real(*args, **options)
        ids.extend(task.id for task in claimed)
        return claimed

    real = claim.claim
    monkeypatch.setattr(claim, "claim", claim_and_note)
    return ids


@pytest.fixture
def reconciled(monkeypatch):
    """The looks for tasks that were stored for the companion and did not reach it: what each has released."""
    found = []

    def reconcile_and_note(*args, **options):
        found.append(real(*args, **options))
        return found[-1]

    real = forgotten.reconcile
    monkeypatch.setattr(forgotten, "reconcile", reconcile_and_note)
    return found


@pytest.fixture
def released(reconciled):
    """Return a function that returns the tasks that such looks have released."""
    return lambda: [id for ids in reconciled for id in ids]


@pytest.fixture
def looks(monkeypatch):
    """The looks for work."""
    calls = []
    real = claim.find_lanes
    monkeypatch.setattr(claim, "find_lanes", lambda *args, **options: calls.append(1) or real(*args, **options))
    return calls


def look(companion, looks):
    """Have a companion look for work, from the beginning of a turn."""
    # The first one may have begun before this.
    for _ in range(2):
        looks.clear()
        companion.wakeup.call()
        wait_until(lambda: looks, what="a look for work")


def is_offered(pipes):
    return bool(readable.wait([pipes.offers[0]], 0))


def until_offered(pipes):
    wait_until(lambda: is_offered(pipes), what="an offer")


def lines(path):
    with open(path) as file:
        return file.read().split()


def store_without_handing_over(pipes, path, word):
    """Do what a caller does that dies between its commit and the handing over."""
    task = tasks.write.new_call((path, word), {})
    # While it looks around there is none for a moment.
    offer = wait_until(pipes.take_offer, what="an offer")
    fence = enqueue.insert_claimed(current(), task, offer.worker_id)
    return TaskHandle(task.id), handover.dump(task, fence, offer)


def test_a_companion_that_starts_looks_for_no_claims_in_its_name(companion, pipes, reconciled):
    until_offered(pipes)
    assert reconciled == []


def test_an_idle_companion_is_handed_calls_and_looks_for_nothing(companion, pipes, searched, released):
    def call(number):
        until_offered(pipes)
        handle = tasks.echo(number)
        assert handle.wait(10) == number
        assert handle.attempts == 1
        return handle.id

    # While it looks around there is no offer for a moment.
    handed = [id for id in map(call, range(30)) if id not in searched]
    assert len(handed) > 20
    assert len(released()) <= 1


def test_a_companion_does_not_look_for_more_because_tasks_are_handed_to_it(companion, pipes, looks):
    looks.clear()
    began = time.monotonic()
    while time.monotonic() < began + 50 * idle.FIRST_SLEEP:
        until_offered(pipes)
        assert tasks.echo(1).wait(10) == 1
    assert len(looks) < 15, "after each look without a find, the next one is twice as far away"


def test_a_task_that_is_handed_over_runs_at_once_as_far_as_others_can_see(pipes, companion):
    # When
    handle = tasks.pass_gate("handed")

    # Then
    assert gate("handed reached").wait(10)
    assert handle.status is RUNNING
    assert rows(
        current(), "SELECT worker_id, attempt, started_at IS NOT NULL FROM autotask_live WHERE name LIKE '%%gate'"
    ) == [(companion.id, 1, True)]
    gate("handed").set()
    wait_until(lambda: handle.status is DONE)


def test_a_companion_that_runs_something_is_not_handed_more(pipes, companion, searched):
    # Given
    first = tasks.pass_gate("busy")
    assert gate("busy reached").wait(10)

    # When
    second = tasks.echo(2)

    # Then
    assert second.wait(10) == 2
    assert second.id in searched
    gate("busy").set()
    wait_until(lambda: first.status is DONE)


def test_inside_a_transaction_nothing_is_handed_over(companion, pipes, searched):
    until_offered(pipes)
    with transaction.atomic():
        handle = tasks.echo(1)
        assert handle.status is WAITING
    assert handle.wait(10) == 1
    assert handle.id in searched


def test_a_task_that_is_rolled_back_is_never_run(companion, pipes, path):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.write(path, "x")
        1 / 0  # noqa: B018
    tasks.echo(1).wait(10)
    assert not os.path.exists(path)


def test_a_delayed_call_and_a_bulk_are_not_handed_over(companion, pipes, searched):
    later = tasks.echo.using(delay=0.05)(1)
    many = tasks.echo.enqueue_many([(2,), (3,)])
    wait_until(lambda: all(handle.ready for handle in (later, *many)))
    assert {handle.id for handle in (later, *many)} <= set(searched)


def test_large_arguments_are_not_handed_over(companion, searched):
    handle = tasks.echo_length("x" * 10_000)
    assert handle.wait(10) == 10_000
    assert handle.id in searched


def test_a_task_that_cannot_be_stored_raises_for_the_caller_and_the_companion_goes_on(companion, pipes, monkeypatch):
    # Given
    monkeypatch.setattr(enqueue, "CLAIMED", enqueue.CLAIMED.replace("autotask_fence", "no_such_sequence"))

    # When: whenever there is no offer for a moment, the task is stored like any other
    def call_until_it_fails():
        until_offered(pipes)
        try:
            tasks.echo(1)
        except ProgrammingError as error:
            return str(error)

    # Then
    assert "no_such_sequence" in wait_until(call_until_it_fails, what="an error")
    monkeypatch.undo()
    assert tasks.echo(1).wait(10) == 1
    until_offered(pipes)


def test_a_role_that_may_not_use_the_sequence_stores_its_calls_like_others(
    companion, pipes, searched, lesser_role, monkeypatch, caplog
):
    # Given
    monkeypatch.setattr(handover, "_not_before", float("-inf"))
    execute(current(), f"SET ROLE {lesser_role}")

    # When: whenever there is no offer for a moment, the task is stored like any other
    def call():
        until_offered(pipes)
        return tasks.echo(1)

    # Then
    assert [call().wait(10) for _ in range(3)] == [1, 1, 1]
    wait_until(lambda: call() and "permission denied" in caplog.text, what="the refusal")
    assert caplog.text.count("not handed to the companion") == 1

    # When the right is granted
    execute(current(), f"RESET ROLE; GRANT USAGE ON SEQUENCE autotask_fence TO {lesser_role}; SET ROLE {lesser_role}")
    monkeypatch.setattr(handover, "_not_before", float("-inf"))

    # Then
    wait_until(lambda: (handle := call()).wait(10) and handle.id not in searched, what="a handing over")


def test_a_call_that_conflicts_with_others_in_a_serializable_session_is_stored_all_the_same(companion, pipes, refuse):
    # Given
    until_offered(pipes)
    end = refuse("autotask_claim", "INSERT", code="40001")

    # When
    handle = tasks.echo(1)

    # Then
    assert handle.status is WAITING
    end()
    assert handle.wait(10) == 1


def test_in_a_transaction_of_which_django_does_not_know_nothing_is_handed_over(companion, pipes):
    # Given
    until_offered(pipes)
    execute(current(), "BEGIN")

    # When
    handle = tasks.echo(1)

    # Then
    assert handle.status is WAITING
    execute(current(), "COMMIT")
    assert handle.wait(10) == 1


def test_a_call_is_one_query_whatever_was_called_before(companion, pipes, django_assert_num_queries):
    for number in range(10):
        until_offered(pipes)  # Without an offer, a call that comes often is prepared by a query of its own.
        with django_assert_num_queries(1):
            handle = tasks.echo(number)
        assert handle.wait(10) == number


@pytest.mark.parametrize("options", [{"queues": ("default",)}, {"exclude_queues": ("mail",)}])
def test_a_companion_that_does_not_serve_all_queues_offers_nothing(serve, pipes, options, searched):
    serve(**options)
    handle = tasks.echo(1)
    assert handle.wait(10) == 1
    assert handle.id in searched
    assert not is_offered(pipes)


def test_a_companion_that_yields_to_a_dedicated_worker_offers_nothing(serve, pipes, start_worker):
    # Given
    companion = serve(kind="companion", yields=True)
    until_offered(pipes)

    # When
    start_worker(kind="worker")

    # Then
    wait_until(lambda: not companion.serving.yielding.leaves_nothing())
    wait_until(lambda: not is_offered(pipes), what="the offer to be taken back")
    assert tasks.echo(1).wait(10) == 1


def sleep_long(companion, monkeypatch):
    """Have a companion sleep for ten minutes next time."""
    sleeps = []

    def was_woken(sleep):
        sleep.seconds = idle.FIRST_SLEEP
        sleeps.append(sleep.seconds)

    monkeypatch.setattr(idle, "FIRST_SLEEP", 600.0)
    monkeypatch.setattr(loop, "FIRST_SLEEP", 600.0)
    monkeypatch.setattr(IdleSleep, "was_woken", was_woken)
    # A look for work may take one in, too.
    wait_until(lambda: companion.wakeup.wake() or 600.0 in sleeps, what="a long sleep")


@pytest.mark.parametrize("sleeps_long", [True, False])
def test_a_task_whose_caller_died_before_handing_it_over_is_run_all_the_same(
    companion, pipes, path, monkeypatch, sleeps_long
):
    # Given
    if sleeps_long:
        sleep_long(companion, monkeypatch)

    # When
    began = time.monotonic()
    handle, _ = store_without_handing_over(pipes, path, "x")

    # Then
    wait_until(lambda: handle.status is DONE)
    assert lines(path) == ["x"]
    assert handle.attempts == 1
    assert time.monotonic() - began < patient(10 * OVERDUE)
    until_offered(pipes)


def test_a_task_that_was_stored_seconds_after_its_offer_was_taken_is_found_too(companion, pipes, path):
    # Given: an INSERT that waits for a lock, say
    offer = wait_until(pipes.take_offer, what="an offer")
    until_offered(pipes)  # By now it has looked for it.

    # When
    task = tasks.write.new_call((path, "x"), {})
    enqueue.insert_claimed(current(), task, offer.worker_id)
    began = time.monotonic()

    # Then
    handle = TaskHandle(task.id)
    wait_until(lambda: handle.status is DONE)
    assert lines(path) == ["x"]
    assert time.monotonic() - began < patient(10 * OVERDUE)


def test_a_task_handed_over_during_a_look_does_not_wait_for_a_sleep(companion, pipes, path, monkeypatch):
    # Given
    for module in (loop, receiver, offer_module):
        monkeypatch.setattr(module, "OVERDUE", 600.0)
    sleep_long(companion, monkeypatch)
    handle, body = store_without_handing_over(pipes, path, "x")
    look = Claimer.look

    def look_and_be_handed(claimer, connection, room=0):
        pipes.hand_over(body)
        companion.wakeup.sleep(0)
        monkeypatch.setattr(Claimer, "look", look)
        return look(claimer, connection, room)

    # When
    monkeypatch.setattr(Claimer, "look", look_and_be_handed)
    companion.wakeup.call()

    # Then
    wait_until(lambda: handle.status is DONE, seconds=5)
    assert lines(path) == ["x"]
    assert handle.attempts == 1


def test_a_message_that_nobody_can_read_costs_only_time(companion, pipes, path):
    handle, _ = store_without_handing_over(pipes, path, "x")
    pipes.hand_over(b"in the words of another version")
    wait_until(lambda: handle.status is DONE)
    assert lines(path) == ["x"]
    assert tasks.echo(1).wait(10) == 1


def test_a_task_handed_over_after_the_answer_to_a_reconciliation_was_lost_runs_once(
    companion, pipes, path, monkeypatch
):
    # Given
    real, lost = forgotten.reconcile, threading.Event()

    def reconcile_and_lose_the_answer(*args, **options):
        found = real(*args, **options)
        if found and not lost.is_set():
            lost.set()
            raise OperationalError("the answer was lost")
        return found

    monkeypatch.setattr(forgotten, "reconcile", reconcile_and_lose_the_answer)
    handle, body = store_without_handing_over(pipes, path, "x")
    assert lost.wait(10)

    # When
    pipes.hand_over(body)

    # Then
    wait_until(lambda: handle.status is DONE)
    tasks.echo(1).wait(10)
    assert lines(path) == ["x"]


def test_a_task_that_is_cancelled_before_the_companion_knows_it_is_not_run(companion, pipes, path, monkeypatch, looks):
    # Given
    monkeypatch.setattr(offer_module, "OVERDUE", 600.0)
    handle, body = store_without_handing_over(pipes, path, "x")

    # When
    assert handle.cancel()
    wait_until(lambda: companion.held.cancelled, what="word of the cancellation")
    look(companion, looks)
    pipes.hand_over(body)

    # Then
    wait_until(lambda: handle.ready)
    assert handle.status is CANCELLED
    assert not os.path.exists(path)


def test_a_call_that_a_survey_finds_before_it_is_handed_over_is_not_released(
    companion, pipes, path, monkeypatch, looks, released, searched
):
    # Given
    monkeypatch.setattr(offer_module, "OVERDUE", 600.0)
    handle, body = store_without_handing_over(pipes, path, "x")

    # When
    companion.services.chores.add([Chore.CLAIMS])
    look(companion, looks)

    # Then
    assert handle.status is RUNNING
    pipes.hand_over(body)
    wait_until(lambda: handle.status is DONE)
    assert handle.id not in searched
    assert released() == []


def test_a_task_handed_over_after_its_release_is_not_run_twice(companion, pipes, path):
    # Given
    handle, body = store_without_handing_over(pipes, path, "x")
    wait_until(lambda: handle.status is DONE)

    # When
    pipes.hand_over(body)

    # Then
    assert tasks.echo(1).wait(10) == 1
    assert lines(path) == ["x"]


def test_a_task_meant_for_a_dead_worker_is_rescued_and_runs_once(companion, pipes, path):
    # Given
    dead = Offer(uuid.uuid4(), 1)
    task = tasks.write.new_call((path, "x"), {})
    fence = enqueue.insert_claimed(current(), task, dead.worker_id)

    # When
    pipes.hand_over(handover.dump(task, fence, dead))

    # Then
    handle = TaskHandle(task.id)
    wait_until(lambda: handle.status is DONE)
    assert lines(path) == ["x"]


def test_a_task_stored_for_a_worker_that_is_no_longer_registered_is_rescued(pipes, path):
    # Given
    task = tasks.write.new_call((path, "x"), {})
    enqueue.insert_claimed(current(), task, uuid.uuid4())

    # When
    rescue.rescue(current(), [], reason="gone", max_crashes=3, error_ttl=60.0)

    # Then
    assert TaskHandle(task.id).status is WAITING


@pytest.mark.parametrize("is_told", [True, False])
def test_a_worker_that_stops_leaves_nothing_under_its_name(companion, pipes, path, is_told):
    # Given
    handle, body = store_without_handing_over(pipes, path, "x")

    # When
    companion.stop()
    if is_told:
        pipes.hand_over(body)

    # Then
    wait_until(lambda: not rows(current(), "SELECT 1 FROM autotask_worker"), what="the worker's sign-off")
    assert handle.status is WAITING or lines(path) == ["x"]
    assert not is_offered(pipes)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_task_that_comes_while_a_worker_waits_for_its_last_one_is_released_at_once(
    companion, pipes, path, is_told, monkeypatch, settings
):
    # Given: a worker that waits, however busy the machine is; after its grace, it would release the last one as well
    settings.AUTOTASK_SHUTDOWN_GRACE = 600
    monkeypatch.setattr(offer_module, "OVERDUE", 600.0)
    handle, body = store_without_handing_over(pipes, path, "x")
    last = tasks.pass_gate(f"last {is_told}")
    assert gate(f"last {is_told} reached").wait(10)

    # When
    companion.stop()
    monkeypatch.setattr(offer_module, "OVERDUE", OVERDUE)
    if is_told:
        pipes.hand_over(body)

    # Then
    wait_until(lambda: handle.status is WAITING)
    assert last.status is RUNNING
    gate(f"last {is_told}").set()
    wait_until(lambda: last.status is DONE)


def test_a_task_handed_to_a_worker_that_goes_on_under_a_new_name_runs_once(companion, pipes, path):
    # Given
    handle, body = store_without_handing_over(pipes, path, "x")
    former = companion.id

    # When: others have taken it for dead
    rescue.rescue(current(), [former], reason="gone", max_crashes=3, error_ttl=60.0)
    wait_until(lambda: companion.id != former, what="a new name")
    pipes.hand_over(body)

    # Then
    wait_until(lambda: handle.status is DONE)
    assert lines(path) == ["x"]


def test_a_task_handed_over_while_a_suspect_runs_alone_waits_for_it(companion, pipes, path, monkeypatch):
    # Given: a task that has lost a worker, so that it runs alone
    monkeypatch.setattr(offer_module, "OVERDUE", 600.0)
    with transaction.atomic():
        suspect = tasks.pass_gate("alone")
        let_be_ready(suspect.id, lost=1)
        handle, body = store_without_handing_over(pipes, path, "x")
    assert gate("alone reached").wait(20)

    # When
    pipes.hand_over(body)

    # Then
    wait_until(lambda: handle.status is WAITING)
    assert not os.path.exists(path)
    gate("alone").set()
    wait_until(lambda: suspect.status is DONE and handle.status is DONE)
    assert lines(path) == ["x"]


def test_a_worker_is_recycled_after_its_number_of_tasks_handed_over_or_not(serve, pipes):
    worker = serve(max_tasks=5)
    until_offered(pipes)
    handles = [tasks.echo(number) for number in range(6)]
    wait_until(lambda: not rows(current(), "SELECT 1 FROM autotask_worker"), what="the worker's sign-off")
    assert 1 <= sum(handle.status is DONE for handle in handles) <= 5
    assert {handle.status for handle in handles} <= {DONE, WAITING}
    assert not is_offered(pipes)
    assert worker.exit_status


def test_calls_from_many_threads_are_each_run_once(companion, pipes, path, released):
    def call(number):
        try:
            return tasks.write(path, str(number))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(call, range(200)))
    wait_until(lambda: all(handle.status is DONE for handle in handles))
    assert sorted(map(int, lines(path))) == list(range(200))
    assert len(released()) <= 5
