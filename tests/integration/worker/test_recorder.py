"""The statements of the recorder, and its end."""

import queue
import threading
import time

import pytest
from django.db import OperationalError, transaction

from autotask.store.connection import Dedicated, current, rows
from autotask.task import State
from autotask.worker import recorder as module
from autotask.worker.burden import FEW
from autotask.worker.gates import Gates
from autotask.worker.recorder import Recorder
from autotask.worker.reporter import Reporter
from autotask.worker.unknown_tasks import UnknownTasks
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import outcome, put, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)

#: Results, by the transaction that has written them, in the order in which they were written.
WRITTEN = """
SELECT array_agg(id), sum(octet_length(value)) FROM autotask_result GROUP BY xmin::text::bigint ORDER BY min(xmin::text::bigint)
"""


@pytest.fixture
def write(transactional_db):
    """Write outcomes that are all there before the recorder starts; return what each of its statements has written."""

    def write(sizes):
        put(len(sizes))
        claimed = take(sign_on(), limit=len(sizes))
        recorder = Recorder(lambda tasks: None, Reporter(lambda claim: True), UnknownTasks(), Gates(lambda: None))
        for task, size in zip(claimed, sizes, strict=True):
            recorder.put((task, outcome(task)._replace(value=b"x" * size)))
        assert recorder.burden.held() == sum(size for size in sizes if size >= FEW)
        recorder.start()
        assert recorder.stop(20)
        assert recorder.burden.held() == 0
        numbers = {task.id: number for number, task in enumerate(claimed)}
        return [({numbers[id] for id in ids}, total) for ids, total in rows(current(), WRITTEN)]

    return write


def test_a_statement_has_some_megabytes_at_most(write, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_STATEMENT", 500_000)
    written = write([100_000] * 20 + [30_000] * 40)
    assert sum(len(numbers) for numbers, _ in written) == 60
    assert all(total < 500_000 + 100_000 for _, total in written)
    assert 6 <= len(written) <= 10


def test_small_outcomes_do_not_wait_for_large_ones(write, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_STATEMENT", 500_000)
    written = write([200_000] * 20 + [10, 20, 30])
    assert written[0] == ({20, 21, 22}, 60)
    # The large ones come in the order in which they were put.
    assert [numbers for numbers, _ in written[1:]] == [{3 * i, 3 * i + 1, 3 * i + 2} for i in range(6)] + [{18, 19}]


def test_large_outcomes_are_written_although_small_ones_keep_coming(write, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_BATCH", 5)
    written = write([100_000] + [0] * 20)
    assert [0 in numbers for numbers, _ in written].index(True) == 1


def test_the_recorder_goes_on_if_an_unforeseen_error_keeps_it_from_connecting_ahead(transactional_db, monkeypatch):
    # Given: OSError is no error of the database
    put(1)
    (task,) = take(sign_on())
    recorder = Recorder(lambda tasks: None, Reporter(lambda claim: True), UnknownTasks(), Gates(lambda: None))
    real, failures = Dedicated._open, [OSError("too many open files")]
    monkeypatch.setattr(Dedicated, "_open", lambda self: real(self) if not failures else _raise(failures.pop()))

    # When
    recorder.get_ready()
    recorder.put((task, outcome(task)))
    recorder.start()

    # Then
    assert recorder.stop(patient(20))
    assert not failures
    assert rows(current(), "SELECT id FROM autotask_result") == [(task.id,)]


def _raise(error):
    raise error


def test_the_recorder_goes_on_after_an_unforeseen_error(transactional_db):
    # Given
    put(2)
    first, second = take(sign_on())
    let_go = []

    def recorded(tasks):
        if tasks == [first]:
            raise LookupError("unforeseen")
        let_go.extend(tasks)

    recorder = Recorder(recorded, Reporter(lambda claim: True), UnknownTasks(), Gates(lambda: None))
    recorder.put((first, outcome(first)))
    recorder.start()
    wait_until(lambda: recorder.unrecorded() == [first.fence])

    # When
    recorder.put((second, outcome(second)))

    # Then
    assert recorder.stop(20)
    assert let_go == [second]


@pytest.fixture
def start_recorder(transactional_db):
    """Start a recorder that is given outcomes of tasks; return it with the tasks that it lets go of."""
    started = []

    def start(tasks, value=None):
        let_go = []
        recorder = Recorder(let_go.extend, Reporter(lambda claim: True), UnknownTasks(), Gates(lambda: None))
        for task in tasks:
            recorder.put((task, outcome(task)._replace(value=value)))
        recorder.start()
        started.append(recorder)
        return recorder, let_go

    yield start
    for recorder in started:
        recorder.stop(1)


def test_any_number_of_results_that_are_refused_become_errors_at_once(start_recorder, refuse):
    refuse("autotask_result", "INSERT", "NEW.value IS NOT NULL")
    put(150)
    recorder, let_go = start_recorder(take(sign_on(), limit=150), b"x")
    wait_until(lambda: len(let_go) == 150)
    assert rows(current(), "SELECT state, count(*) FROM autotask_result GROUP BY state") == [(State.ERROR, 150)]
    wait_until(lambda: recorder.burden.held() == 0)


def test_any_number_of_outcomes_that_are_refused_hold_up_no_others(start_recorder, refuse):
    # Given
    refuse("autotask_result", "INSERT", "NEW.name = 'bad'")
    put(210, name="bad")
    bad = take(sign_on(), limit=210)
    put()
    (good,) = take(sign_on(), limit=1)
    recorder, let_go = start_recorder(bad)
    wait_until(lambda: len(recorder.unrecorded()) >= 100)

    # When
    recorder.put((good, outcome(good)._replace(value=b"x")))

    # Then
    wait_until(lambda: good in let_go)
    wait_until(lambda: len(recorder.unrecorded()) >= 200)


def test_outcomes_that_were_given_up_at_the_very_end_do_not_count_as_written(monkeypatch):
    # Given a recorder that cannot reach the database, and whose thread ends before its end can be looked at
    put()
    (claimed,) = take(sign_on())
    let_go = []
    recorder = Recorder(let_go.append, Reporter(lambda claim: True), UnknownTasks(), Gates(lambda: None))
    recorder.connection._settings |= {"HOST": "127.0.0.1", "PORT": "1"}
    close = recorder._closing.set

    def close_and_wait():
        close()
        recorder.thread.join(patient(20))

    monkeypatch.setattr(recorder._closing, "set", close_and_wait)
    recorder.start()
    recorder.put((claimed, outcome(claimed)))

    # When
    written = recorder.stop(0.5)

    # Then
    assert not recorder.thread.is_alive()
    assert not written and not let_go


@pytest.fixture
def ready_recorder(start_recorder):
    """A recorder with an open connection and nothing to do, with the tasks that it lets go of and their threads."""
    recorder, let_go = start_recorder([])
    recorder._recorded = lambda tasks: let_go.extend((task, threading.get_ident()) for task in tasks)
    recorder.get_ready()
    wait_until(lambda: recorder.connection.is_open and not recorder._using.locked())
    return recorder, let_go


def test_an_urgent_outcome_is_written_by_the_thread_that_puts_it(ready_recorder):
    recorder, let_go = ready_recorder
    put(1)
    (task,) = take(sign_on())
    recorder.put_urgent((task, outcome(task)))
    assert let_go == [(task, threading.get_ident())]
    assert rows(current(), "SELECT id FROM autotask_result") == [(task.id,)]


def _occupy(recorder):
    recorder._using.acquire()
    threading.Timer(0.1, recorder._using.release).start()


def _cut(recorder):
    pid = recorder.connection.wrapper.connection.info.backend_pid
    rows(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
    wait_until(lambda: not rows(current(), "SELECT FROM pg_stat_activity WHERE pid = %(pid)s", {"pid": pid}))


@pytest.mark.parametrize("hinder", [_occupy, _cut, lambda recorder: recorder.connection.close()])
def test_an_urgent_outcome_is_left_to_the_recorder_if_it_cannot_be_written_at_once(ready_recorder, hinder):
    recorder, let_go = ready_recorder
    put(1)
    (task,) = take(sign_on())
    hinder(recorder)
    recorder.put_urgent((task, outcome(task)))
    wait_until(lambda: let_go == [(task, recorder.thread.ident)])
    assert rows(current(), "SELECT id FROM autotask_result") == [(task.id,)]


def test_a_large_outcome_is_left_to_the_recorder(ready_recorder):
    recorder, let_go = ready_recorder
    put(1)
    (task,) = take(sign_on())
    recorder.put_urgent((task, outcome(task)._replace(value=b"x" * FEW)))
    wait_until(lambda: let_go == [(task, recorder.thread.ident)])


def test_an_urgent_outcome_whose_row_is_locked_does_not_fail(ready_recorder):
    recorder, let_go = ready_recorder
    put(1)
    (task,) = take(sign_on())
    with transaction.atomic():
        rows(current(), "SELECT FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": task.id})
        recorder.put_urgent((task, outcome(task)))
        assert not let_go
    wait_until(lambda: [each for each, _ in let_go] == [task])


def test_an_urgent_outcome_that_was_committed_although_the_answer_was_lost(ready_recorder, monkeypatch):
    recorder, let_go = ready_recorder
    put(1)
    (task,) = take(sign_on())
    real, calls = recorder._writes.end, []

    def end(group):
        found = real(group)
        calls.append(threading.get_ident())
        if len(calls) == 1:
            raise OperationalError("the connection is lost")
        return found

    monkeypatch.setattr(recorder._writes, "end", end)
    recorder.put_urgent((task, outcome(task)))
    wait_until(lambda: let_go == [(task, recorder.thread.ident)])
    assert calls == [threading.get_ident(), recorder.thread.ident]
    assert not recorder.refused
    assert rows(current(), "SELECT id FROM autotask_result") == [(task.id,)]


class Counted(queue.SimpleQueue):
    """Counts how often nothing has come."""

    empty_gets = 0

    def get(self, block=True, timeout=None):
        try:
            return super().get(block, timeout)
        except queue.Empty:
            self.empty_gets += 1
            raise


def test_the_connection_is_kept_while_urgent_outcomes_keep_coming(transactional_db, monkeypatch):
    # Given
    monkeypatch.setattr(module, "IDLE", 0.05)
    recorder = Recorder(lambda tasks: None, Reporter(lambda claim: True), UnknownTasks(), Gates(lambda: None))
    recorder.records = Counted()
    recorder._used_at = time.monotonic() + patient(60)  # as if they did
    recorder.get_ready()
    recorder.start()

    # Then
    wait_until(lambda: recorder.records.empty_gets > 5)
    assert recorder.connection.is_open
    recorder._used_at = time.monotonic()
    wait_until(lambda: not recorder.connection.is_open)
    assert recorder.stop(patient(20))
