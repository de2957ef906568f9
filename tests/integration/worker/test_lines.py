"""Calls of other processes that are handed to an idle worker by NOTIFY, stored as already claimed by it."""

import threading

import pytest

from autotask import handover, lines
from autotask.exceptions import TaskFailed
from autotask.handle import TaskHandle
from autotask.own_worker import own
from autotask.store import addressee, claim, enqueue, forgotten, notify, rescue
from autotask.store.connection import current, dedicated, execute, rows
from autotask.store.survey import Chore
from autotask.task import RUNNING, WAITING
from autotask.worker import news
from autotask.worker.claiming.claimer import Claimer
from tests.helpers import wait_until
from tests.integration.store.shapes import sign_on
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

LINE = "SELECT line FROM autotask_worker WHERE id = %(id)s"


@pytest.fixture
def searched(monkeypatch):
    """The ids of the tasks that were found by looking for them."""
    ids, real = [], claim.claim

    def claim_and_note(*args, **options):
        claimed = real(*args, **options)
        ids.extend(task.id for task in claimed)
        return claimed

    monkeypatch.setattr(claim, "claim", claim_and_note)
    return ids


@pytest.fixture
def start(start_worker, monkeypatch):
    """Start a worker that sleeps until it is woken, and let this process call like one without a worker."""

    def started(**options):
        worker = start_worker(**options)
        wait_until(lambda: rows(current(), LINE, {"id": worker.id}) == [(lines.current().mark,)], what="its line")
        wait_until(lambda: worker.loop.promote_at > float("-inf"), what="its first look for work")
        monkeypatch.setattr(own, "wake", None)
        return worker

    monkeypatch.setattr("autotask.worker.idle.FIRST_SLEEP", 60.0)
    monkeypatch.setattr("autotask.worker.loop.FIRST_SLEEP", 60.0)
    monkeypatch.setattr(notify, "NOTIFY_INTERVAL", 0.0)
    monkeypatch.setattr(notify, "_blind_until", float("-inf"))
    return started


def claims():
    return rows(current(), "SELECT worker_id, ids FROM autotask_claim")


def keep_word(worker, call):
    """Return a handle of a call that is stored as claimed by a worker, and the word that has not come to it."""
    task = tasks.echo.new_call((call,), {})
    fence = enqueue.insert_claimed(current(), task, worker.id)
    return TaskHandle(task.id), f"{fence >> 10} {handover.words_for(task)}"


def test_an_idle_worker_is_handed_calls_and_looks_for_nothing(start, searched):
    start()
    for number in range(5):
        wait_until(lambda: not claims(), what="an idle worker")
        handle = tasks.echo(number)
        assert handle.wait(10) == number
        assert handle.attempts == 1
    assert not searched


def test_a_word_that_a_worker_finds_after_its_connection_was_closed_harms_nothing(start, caplog):
    # Given
    worker = start()
    worker.stop()
    wait_until(lambda: not worker.loop.news.connection.is_open, what="the end of its connection")

    # When
    worker.wakeup.handed.append(b"in an unknown form")

    # Then
    assert worker.loop.receiver.accept()
    assert "in a form that this version of autotask does not know" in caplog.text


def test_a_task_that_was_handed_over_is_stopped_at_its_time_limit(start, searched, settings):
    # Given
    settings.AUTOTASK_TIMEOUT = 0.5
    start()
    wait_until(lambda: not claims(), what="an idle worker")

    # When
    handle = tasks.pass_gate("handed and long")

    # Then
    with pytest.raises(TaskFailed, match="timed out after 0.5 s"):
        handle.wait(20)
    assert not searched


def test_a_worker_is_handed_nothing_else_while_its_task_runs(start, searched):
    # Given
    start(threads=1)
    first = tasks.pass_gate("first")
    assert tasks.gate("first reached").wait(10)
    assert first.status is RUNNING

    # When
    second = tasks.echo(2)

    # Then
    assert len(claims()) == 1
    assert second.status is WAITING
    tasks.gate("first").set()
    second.wait(10)
    assert searched == [second.id]


@pytest.mark.parametrize("obstacle", ["dead", "leaving", "another key", "another queue", "missed a beat"])
def test_a_worker_that_would_not_get_the_word_is_handed_nothing(obstacle, other_connection, monkeypatch):
    # Given
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    id = sign_on(queues=("mail",) if obstacle == "another queue" else ())
    mark = "other" if obstacle == "another key" else lines.current().mark
    execute(current(), "UPDATE autotask_worker SET line = %(mark)s", {"mark": mark})
    if obstacle == "missed a beat":
        execute(
            current(),
            "UPDATE autotask_worker SET seen_at = seen_at - interval '25 s', lease_until = lease_until - interval '25 s'",
        )
    if obstacle != "dead":
        addressee.be_alive(other_connection, id)
    if obstacle == "leaving":
        addressee.be_handed_nothing(other_connection, id, lines.current().channel(id))

    # When
    handle = tasks.echo(1)

    # Then
    assert handle.status is WAITING
    assert not claims()


def test_a_worker_whose_former_session_ends_late_is_handed_calls_after_that(
    start, searched, other_connection, monkeypatch
):
    # Given: the server has not noticed the end of its former session
    real, others = addressee.be_alive, []

    def be_alive_after_another(connection, id):
        if not others:
            others.append(real(other_connection, id))
        return real(connection, id)

    monkeypatch.setattr(addressee, "be_alive", be_alive_after_another)
    monkeypatch.setattr(news, "TRY_AGAIN", 0.0)
    worker = start()
    assert others == [True]
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND pid = %(pid)s"
    own = {"pid": worker.loop.news.connection.wrapper.connection.info.backend_pid}
    assert rows(current(), held, own) == [(0,)]

    # When
    other_connection.close()
    worker.wakeup.wake()

    # Then
    wait_until(lambda: rows(current(), held, own) == [(1,)], what="a session that counts as alive")
    assert tasks.echo("handed").wait(10) == "handed"
    assert not searched


def test_a_call_that_conflicts_with_others_in_a_serializable_session_is_stored_all_the_same(start, searched, refuse):
    # Given
    start()
    end = refuse("autotask_claim", "INSERT", code="40001")

    # When
    handle = tasks.echo("stored")

    # Then
    assert handle.status is WAITING
    end()
    assert handle.wait(10) == "stored"
    assert searched == [handle.id]


def test_large_arguments_are_found_in_the_table(start, searched):
    start()
    handle = tasks.echo("a" * 10_000)
    assert handle.wait(10) == "a" * 10_000
    assert searched == [handle.id]


def test_the_channel_is_the_same_for_callers_and_workers_and_depends_on_the_key(settings):
    id, line = sign_on(), lines.current()
    sql = f"SELECT {lines.channel('%(id)s::uuid')}"
    assert rows(current(), sql, {"id": id, "secret": line.secret}) == [(line.channel(id),)]
    settings.SECRET_KEY = "another key of the site"
    assert lines.current().channel(id) != line.channel(id)
    assert lines.current().mark != line.mark


def test_a_task_whose_word_does_not_come_is_released_and_runs(start, searched):
    # Given
    worker = start()
    handle, _ = keep_word(worker, "lost")

    # When
    worker.services.chores.add([Chore.CLAIMS])
    worker.wakeup.wake()

    # Then
    assert handle.wait(10) == "lost"
    assert searched == [handle.id]


def test_a_task_whose_word_comes_while_the_worker_looks_for_lost_ones_is_not_released(
    start, searched, monkeypatch, caplog
):
    # Given
    worker = start()
    looks, called = threading.Event(), threading.Event()
    real = forgotten.unknown

    def look_after_the_call(*args):
        looks.set()
        assert called.wait(20)
        return real(*args)

    monkeypatch.setattr(forgotten, "unknown", look_after_the_call)
    worker.services.chores.add([Chore.CLAIMS])
    worker.wakeup.wake()
    assert looks.wait(20)

    # When
    handle = tasks.echo("in time")
    assert len(claims()) == 1
    called.set()

    # Then
    assert handle.wait(10) == "in time"
    assert not searched
    assert "without its knowledge" not in caplog.text


def test_a_claim_that_somebody_has_left_without_a_task_is_deleted(start):
    # Given: all of its tasks have ended, and the one that recorded the last end did not see that
    worker = start()
    execute(
        current(),
        """INSERT INTO autotask_claim (number, worker_id, at, ids)
        VALUES (nextval('autotask_fence'), %(worker)s::uuid, now(), ARRAY[gen_random_uuid()])""",
        {"worker": worker.id},
    )
    assert len(claims()) == 1

    # When
    worker.services.chores.add([Chore.CLAIMS])
    worker.wakeup.wake()

    # Then
    wait_until(lambda: not claims(), what="an end of the claim")


def test_a_word_that_comes_after_the_task_was_released_is_not_heeded(start):
    # Given
    worker = start()
    handle, words = keep_word(worker, "once")
    worker.services.chores.add([Chore.CLAIMS])
    worker.wakeup.wake()
    assert handle.wait(10) == "once"

    # When
    channel = lines.current().channel(worker.id)
    execute(current(), f"NOTIFY {channel}, '{words}'")
    execute(current(), f"NOTIFY {channel}, '{words}'")

    # Then
    assert tasks.echo("next").wait(10) == "next"
    assert worker.recorder.refused == 0


def test_a_word_for_a_former_name_of_the_worker_is_not_heeded(start):
    # Given a worker that was stopped while a word came, until others had its tasks
    worker = start()
    former = worker.id
    handle, words = keep_word(worker, "once")
    execute(current(), "DELETE FROM autotask_worker")
    worker.services.beat_now()
    wait_until(lambda: worker.id != former, what="a new name")
    rescue.rescue(current(), [former], reason="gone", max_crashes=3, error_ttl=60.0)
    worker.wakeup.call()
    assert handle.wait(10) == "once"
    wait_until(lambda: not worker.held, what="the end of the task")

    # When
    execute(current(), f"NOTIFY {lines.current().channel(former)}, '{words}'")

    # Then
    assert tasks.echo("next").wait(10) == "next"
    assert worker.recorder.refused == 0


def test_a_task_that_is_handed_over_just_before_the_worker_listens_again_runs(start, monkeypatch):
    # Given
    worker = start()
    news, handles = worker.loop.news, []

    def listen(former=news.listen):
        if not handles and news._listening._on[0] is not news.connection.wrapper:
            handles.append(keep_word(worker, "before")[0])
        former()

    monkeypatch.setattr(news, "listen", listen)

    # When
    pid = news.connection.wrapper.connection.info.backend_pid
    execute(current(), f"SELECT pg_terminate_backend({pid})")

    # Then
    wait_until(lambda: handles, what="a new connection")
    assert handles[0].wait(10) == "before"


def test_words_that_cannot_be_understood_are_logged(start, caplog):
    # Given
    worker = start()
    channel = lines.current().channel(worker.id)

    # When
    execute(current(), f"NOTIFY {channel}, 'of a later version'")

    # Then
    wait_until(lambda: "will be found in the table" in caplog.text, what="a log line")
    assert tasks.echo("next").wait(10) == "next"


def test_a_worker_that_stops_releases_what_it_is_handed_at_that_moment(start, caplog):
    # Given a call that has chosen the worker, and is not committed yet
    worker = start()
    connection = dedicated("test").wrapper
    execute(connection, "BEGIN")
    task = tasks.echo.new_call((1,), {})
    enqueue.insert_handing(connection, task, handover.words_for(task))
    assert rows(connection, "SELECT worker_id FROM autotask_claim") == [(worker.id,)]

    # When
    worker.stop()
    wait_until(lambda: worker.registration.stopping, what="the beginning of the end")
    execute(connection, "COMMIT")

    # Then
    wait_until(lambda: not rows(current(), LINE, {"id": worker.id}), what="the end of the worker")
    assert TaskHandle(task.id).status is WAITING
    assert "without its knowledge" not in caplog.text
    connection.close()


def test_the_second_of_two_tasks_handed_over_at_once_does_not_wait_behind_the_first(start, monkeypatch):
    # Given a worker that has run many short tasks, and so would hold some ahead
    worker = start(threads=1)
    for number in range(5):
        wait_until(lambda: not claims(), what="an idle worker")
        tasks.echo(number).wait(10)
    first = tasks.pass_gate("first")
    assert tasks.gate("first reached").wait(10)

    # When
    accepted, accept = [], Claimer.accept
    monkeypatch.setattr(Claimer, "accept", lambda self, task: accepted.append(task.id) or accept(self, task))
    second, words = keep_word(worker, 2)
    execute(current(), f"NOTIFY {lines.current().channel(worker.id)}, '{words}'")

    # Then
    wait_until(lambda: second.status is WAITING, what="its release")
    assert first.status is RUNNING
    assert not accepted
    tasks.gate("first").set()
    assert second.wait(10) == 2


def test_a_worker_that_stops_does_not_wait_long_for_a_call_that_has_chosen_it(start, monkeypatch):
    # Given
    monkeypatch.setattr(addressee, "PATIENCE", 0.1)
    worker = start()
    connection = dedicated("test").wrapper
    execute(connection, "BEGIN")
    task = tasks.echo.new_call((1,), {})
    enqueue.insert_handing(connection, task, handover.words_for(task))

    # When
    worker.stop()
    wait_until(lambda: not rows(current(), LINE, {"id": worker.id}), what="the end of the worker")
    execute(connection, "COMMIT")
    connection.close()

    # Then
    start()
    assert TaskHandle(task.id).wait(20) == 1
