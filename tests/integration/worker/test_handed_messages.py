"""Values that are handed over to the host of their queue worker, and their way when that goes wrong."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

from autotask import handover, lines, offer as offer_module, registry
from autotask.handle import TaskHandle
from autotask.offer import OVERDUE
from autotask.processes import readable
from autotask.store import background, claims, inbox
from autotask.store.connection import current, execute, rows
from autotask.task import DONE, RUNNING, WAITING
from autotask.worker.background.handed import Handed
from tests import gates
from tests.gates import gate
from tests.helpers import wait_until
from tests.integration.worker import handed
from tests.integration.worker.handed import happen, take, taken

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fresh():
    """Nothing was taken yet, and workers know the background workers of these tests."""
    for worker in (take, happen):
        registry.register(worker.definition)
    yield
    taken.clear()
    gates.forget()


@pytest.fixture
def claimed(monkeypatch):
    """The ids of the messages that were found by looking for them."""
    ids = []

    def take_and_note(*args):
        found = real(*args)
        ids.extend(task.id for task in found)
        return found

    real = inbox.take
    monkeypatch.setattr(inbox, "take", take_and_note)
    return ids


@pytest.fixture
def host(serve, pipes):
    """A companion that hosts the queue worker, and has nothing to do."""
    worker = serve()
    take.start()
    wait_until(take.is_started)
    first = take.put(0)
    wait_until(lambda: first.status is DONE, what="the end of the first value")
    taken.clear()
    until_offered(pipes)
    return worker


def until_offered(pipes):
    wait_until(lambda: readable.wait([pipes.offers[0]], 0), what="an offer")


def until_taken(*values):
    wait_until(lambda: len(taken) >= len(values), what="the values")
    assert taken == list(values)


def in_its_own_connection(act):
    try:
        act()
    finally:
        connections.close_all()


def store_without_handing_over(pipes, value):
    """Do what a caller does that dies between its commit and the handing over."""
    task = take.definition.new_call((value,), {})
    offer = wait_until(pipes.take_offer, what="an offer")
    fence = inbox.put(current(), task, take.name, offer.worker_id)
    assert fence
    return TaskHandle(task.id), handover.dump(task, fence, offer)


def test_an_idle_queue_worker_is_handed_values_and_looks_for_nothing(host, pipes, claimed):
    def put(value):
        until_offered(pipes)
        handle = take.put(value)
        assert handle.wait(20) is None
        return handle.id

    # While the companion looks around there is no offer for a moment.
    assert len([id for id in map(put, range(1, 21)) if id not in claimed]) > 10
    until_taken(*range(1, 21))


def test_what_comes_while_one_is_handled_is_handled_after_it(host, pipes):
    # Given
    first = take.put("held up")
    gate("held up reached").wait(20)
    assert first.status is RUNNING

    # When
    until_offered(pipes)
    others = [take.put(value) for value in (1, 2, 3)]
    urgent = take.put(4, priority=1)

    # Then
    assert {each.status for each in (*others, urgent)} == {WAITING}
    gate("held up").set()
    until_taken("held up", 4, 1, 2, 3)
    until_offered(pipes)  # for tasks, and other values


def test_a_value_that_is_lost_on_its_way_is_handled_once(host, pipes):
    # When
    handle, body = store_without_handing_over(pipes, 1)

    # Then: the companion sees that its offer was taken, and nothing came
    wait_until(lambda: handle.status is DONE, OVERDUE + 20)
    pipes.hand_over(body)
    take.put(2)
    until_taken(1, 2)


def test_a_value_that_was_released_before_it_came_and_is_paused_now_is_handled_once(host, pipes, monkeypatch):
    # Given: its offer stays valid; a pause since it was stored; and the companion releases what it does not know of
    monkeypatch.setattr(offer_module, "OVERDUE", 60)
    handle, body = store_without_handing_over(pipes, 1)
    pause = "INSERT INTO autotask_pause (kind, name, paused_at) VALUES ('task', %s, now())"
    execute(current(), pause, (take.definition.name,))
    host.caretaker.doubt()
    wait_until(lambda: handle.status is WAITING, what="the release")

    # When
    came, real = [], Handed.put
    monkeypatch.setattr(Handed, "put", lambda self, task: came.append(real(self, task)) or came[-1])
    pipes.hand_over(body)
    wait_until(lambda: came == [True], what="the value")
    instance = host.caretaker._hosting.care.instances[take.name]
    wait_until(lambda: not instance.handed.ids(), what="the instance to take it")

    # Then
    execute(current(), "DELETE FROM autotask_pause")
    take.put(2)
    until_taken(1, 2)


def test_what_is_handed_to_one_that_has_stopped_waits_for_the_next_start(host, pipes):
    # Given
    handle, body = store_without_handing_over(pipes, 1)
    take.stop()

    # When
    pipes.hand_over(body)

    # Then
    wait_until(lambda: handle.status is WAITING)
    take.start()
    until_taken(1)


def test_a_value_that_is_lost_while_its_host_gives_the_instance_up_waits_for_another_one(host, pipes):
    # Given: its caller commits only after the instance has left, and dies
    with transaction.atomic(), ThreadPoolExecutor(1) as elsewhere:
        handle, _ = store_without_handing_over(pipes, 1)
        elsewhere.submit(in_its_own_connection, take.stop).result()
    assert take.is_stopped()

    # Then
    wait_until(lambda: handle.status is WAITING, OVERDUE + 20)
    take.start()
    until_taken(1)


def test_while_it_is_paused_a_value_waits(host, pipes):
    # Given: a pause that the companion does not know of yet
    offer = wait_until(pipes.take_offer, what="an offer")
    sql = "INSERT INTO autotask_pause (kind, name, paused_at) VALUES ('task', %s, now())"
    execute(current(), sql, (take.definition.name,))

    # When
    task = take.definition.new_call((1,), {})
    fence = inbox.put(current(), task, take.name, offer.worker_id)
    pipes.hand_over(handover.back(offer))

    # Then
    assert fence == 0
    assert TaskHandle(task.id).status is WAITING


def test_for_one_that_another_worker_hosts_nothing_is_claimed(serve, pipes):
    # Given: this companion hosts none
    serve()
    until_offered(pipes)

    # When
    handle = take.put(1)

    # Then
    assert handle.status is WAITING
    until_offered(pipes)


def test_a_trigger_is_not_handed_over(serve, pipes, claimed):
    serve()
    happen.start()
    wait_until(happen.is_started)
    until_offered(pipes)
    handle = happen.trigger()
    wait_until(lambda: handle.status is DONE)
    assert claimed == [handle.id]
    assert handed.taken == ["happened"]


@pytest.fixture
def far_host(start_worker, monkeypatch):
    """A worker of another process that hosts the queue worker, and has nothing to do."""
    monkeypatch.setattr(background, "CALL_EVERY", 0.0)
    monkeypatch.setattr(background, "_called_at", {})
    worker = start_worker()
    take.start()
    wait_until(take.is_started)
    marked = "SELECT 1 FROM autotask_worker WHERE id = %(id)s AND line = %(mark)s"
    wait_until(lambda: rows(current(), marked, {"id": worker.id, "mark": lines.current().mark}), what="its line")
    assert take.put(0).wait(20) is None  # It may be found while the host looks around.
    taken.clear()
    return worker


def tell(host, task, fence):
    """Send a host the word of a message that was stored as claimed by it."""
    words = f"{claims.number(fence)} {handover.words_for(task)}"
    told = {"channel": lines.current().channel(host.id), "words": words}
    execute(current(), "SELECT pg_notify(%(channel)s, %(words)s)", told)


def test_an_idle_host_is_handed_the_values_of_another_process_and_looks_for_nothing(far_host, claimed):
    handles = []
    for value in range(20):
        handles.append(take.put(value))
        assert handles[-1].wait(20) is None
    until_taken(*range(20))
    assert not claimed


def test_values_of_another_process_that_come_while_one_is_handled_are_handled_after_it(far_host):
    # Given
    take.put("held up")
    gate("held up reached").wait(20)

    # When
    urgent = [take.put(1), take.put(2), take.put(3, priority=1)]

    # Then
    assert {each.status for each in urgent} == {WAITING}
    gate("held up").set()
    until_taken("held up", 3, 1, 2)


def test_values_put_at_once_after_one_that_was_handed_over_are_handled_soon(far_host, monkeypatch):
    # The second value notifies nobody, so it has to come before the look that follows the first one.
    monkeypatch.setattr(background, "CALL_EVERY", 600.0)
    monkeypatch.setattr(background, "LOOK_AGAIN", 2.0)
    monkeypatch.setattr("autotask.worker.background.care.LOOK_EVERY", 600.0)
    for turn in range(10):
        background._called_at.clear()
        began = time.monotonic()
        take.put(f"held up {turn}")
        gate(f"held up {turn} reached").wait(20)
        gate(f"held up {turn}").set()
        take.put(turn)
        if time.monotonic() - began < background.LOOK_AGAIN:
            break
        background.call_hosts(current(), take.name)  # This machine is so busy that the look may have come first.
        wait_until(lambda number=turn: number in taken, what="the value that came late")
    else:
        pytest.fail("no two values came within two seconds")
    wait_until(lambda: taken[-2:] == [f"held up {turn}", turn], what="the values")


def test_a_value_whose_word_is_late_is_not_overtaken_by_the_next_one(far_host, monkeypatch):
    # Given: the word of the first value is on its way while the host looks for the second one
    looks, real = [], inbox.take
    monkeypatch.setattr(inbox, "take", lambda *args: looks.append(real(*args)) or looks[-1])
    task = take.definition.new_call((1,), {})
    fence = inbox.put(current(), task, take.name, far_host.id)
    take.put(2)
    wait_until(lambda: looks, what="a look")

    # When
    tell(far_host, task, fence)

    # Then
    until_taken(1, 2)


def test_a_value_whose_word_is_lost_with_the_connection_of_its_host_is_handled_once(far_host):
    # Given
    first = take.put(1)
    first.wait(20)
    task = take.definition.new_call((2,), {})
    fence = inbox.put(current(), task, take.name, far_host.id)

    # When
    far_host.loop.receiver.seen = object()  # as after a new connection
    far_host.wakeup.wake()

    # Then
    wait_until(lambda: TaskHandle(task.id).status is DONE, what="the end of the value")
    tell(far_host, task, fence)
    take.put(3)
    until_taken(1, 2, 3)
