"""``manage.py autotask resign``: the old key can be removed, and nothing gets a signature that had none."""

import time
import uuid

import pytest
from django.db import connection as default

from autotask import registry
from autotask.acts import resigning
from autotask.exceptions import PayloadRefused
from autotask.payload import load_arguments, load_result
from autotask.store import finish, resign
from autotask.store.connection import current, execute, rows
from autotask.store.read import workers
from autotask.store.resign import BATCH, FAILED, RESULTS, WAITING
from autotask.task import State
from autotask.tasks import delayed_task
from tests.helpers import wait_until
from tests.integration.commands.command import manage
from tests.integration.store.shapes import outcome, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)


@delayed_task(ttl=1000)
def double(number: int) -> int:
    return 2 * number


@delayed_task(ttl=1000)
def fail(number: int) -> None:
    raise ValueError(number)


@pytest.fixture(autouse=True)
def old_key(settings, monkeypatch):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "key-of-yore", []
    # Without the schedules of the demo, which leave results.
    monkeypatch.setattr(registry, "_definitions", {task.name: task for task in (double, fail)})


def rotate(settings):
    """Sign with a new key from now on; the old one is a fallback."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["key-of-yore"]


def retire(settings):
    """Remove the old key."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", []


def payload_of(handle, table="autotask_task"):
    [(found,)] = rows(current(), f"SELECT payload FROM {table} WHERE id = %(id)s", {"id": handle.id})
    return bytes(found)


def everything():
    """Return both tables as they are."""
    tables = ("autotask_task", "autotask_result")
    return [rows(current(), f"SELECT t::text FROM {table} t ORDER BY id") for table in tables]


def running(task, *args):
    """Return a call that a worker has claimed, and its claim."""
    handle = task(*args)
    (claimed,) = take(sign_on())
    assert claimed.id == handle.id
    return handle, claimed


def end(*outcomes, connection=None):
    return finish.end(connection or current(), outcomes, now=time.monotonic(), error_ttl=1000.0)


def test_after_it_the_old_key_can_be_removed(start_worker, settings):
    # Given one of each
    done, failed = double(21), fail(1)
    worker = start_worker()
    wait_until(lambda: done.ready and failed.ready)
    worker.stop()
    wait_until(lambda: not workers(current()), what="the worker's sign-off")
    claimed, claim = running(double, 2)
    waiting, later = double(3), double.using(delay=1000)(4)
    rotate(settings)
    new = double(5)

    # When: a dry run changes nothing
    before = everything()
    shown = manage("resign", "--dry-run")
    assert everything() == before
    listed = "5 payloads (3 arguments of live tasks, 1 arguments of tasks that can be retried, 1 results)"
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{listed} would be signed again.\n1 payload signed with the current key.\n"

    # When
    shown = manage("resign")

    # Then
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{listed} signed again.\n6 payloads signed with the current key now.\n"
    retire(settings)
    for handle, number in ((claimed, 2), (waiting, 3), (later, 4), (new, 5)):
        assert load_arguments(payload_of(handle), id=handle.id, name=double.name) == ((number,), {})
    assert load_arguments(payload_of(failed, "autotask_result"), id=failed.id, name=fail.name) == ((1,), {})
    done.refresh()
    assert done.result == 42

    # And the claim is as it was
    assert end(outcome(claim, value=None)) == 1

    # And a second time there is nothing to do
    assert manage("resign").out.startswith("0 payloads signed again.\n")


def test_what_does_not_verify_is_named_and_left_alone(settings):
    # Given
    good, altered, moved, foreign, empty = (double(number) for number in range(5))
    settings.SECRET_KEY = "of somebody else"
    theirs = double(9)
    envelope = payload_of(good)
    for handle, changed in [
        (altered, payload_of(altered)[:-1] + b"\0"),
        (moved, envelope),
        (foreign, payload_of(theirs)),
        (empty, b""),
    ]:
        execute(
            current(), "UPDATE autotask_task SET payload = %(p)s WHERE id = %(id)s", {"p": changed, "id": handle.id}
        )
    bad = {handle: payload_of(handle) for handle in (altered, moved, foreign, empty, theirs)}
    rotate(settings)

    # When
    shown = manage("resign")

    # Then
    assert shown.code == 1
    assert shown.out.startswith("1 payload (1 arguments of live tasks) signed again.\n1 payload signed with the")
    assert "5 payloads refused, and left unchanged." in shown.err
    assert all(str(handle.id) in shown.err for handle in bad) and str(good.id) not in shown.err
    assert {handle: payload_of(handle) for handle in bad} == bad
    assert all(key not in shown.out + shown.err for key in ("key-of-yore", "somebody else"))


def test_a_result_that_was_moved_to_another_claim_is_refused(start_worker, settings):
    done = double(21)
    start_worker()
    assert done.wait(10) == 42
    execute(current(), "UPDATE autotask_result SET fence = fence + 1")
    rotate(settings)
    assert "1 payload refused" in manage("resign").err
    done.refresh()
    with pytest.raises(PayloadRefused):
        _ = done.result


def test_many_are_signed_in_batches(settings):
    count = 2 * BATCH + 3
    handles = double.enqueue_many([(number,) for number in range(count)])
    rotate(settings)
    assert manage("resign").out.startswith(f"{count} payloads ({count} arguments of live tasks) signed again.\n")
    retire(settings)
    for number, handle in enumerate(handles):
        assert load_arguments(payload_of(handle), id=handle.id, name=double.name) == ((number,), {})


def test_what_is_many_bytes_is_signed_in_smaller_batches(settings, monkeypatch):
    # Given
    monkeypatch.setattr(resign, "BATCH_BYTES", 25_000)
    handles = double.enqueue_many([(b"x" * 10_000,) for _ in range(10)])
    assert [len(resign.read(current(), WAITING, uuid.UUID(int=0))), BATCH] == [3, 100]
    rotate(settings)

    # When
    assert manage("resign").out.startswith("10 payloads (10 arguments of live tasks) signed again.\n")

    # Then
    retire(settings)
    for handle in handles:
        assert load_arguments(payload_of(handle), id=handle.id, name=double.name) == ((b"x" * 10_000,), {})


def test_a_row_that_is_locked_is_not_waited_for_and_said_to_be_left(settings, other_connection):
    # Given
    locked, free = double(1), double(2)
    rotate(settings)
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": locked.id})

    # When
    shown = manage("resign")
    execute(other_connection, "ROLLBACK")

    # Then
    assert shown.code == 1 and "1 payload could not be signed again: their rows were locked" in shown.err
    assert manage("resign").code == 0
    retire(settings)
    for handle in (locked, free):
        load_arguments(payload_of(handle), id=handle.id, name=double.name)


def test_what_has_ended_meanwhile_is_found_where_it_went(settings):
    # Given a task that was read while it ran
    handle, claim = running(fail, 1)
    rotate(settings)
    (read,) = resign.read(current(), WAITING, resigning._FIRST)

    # When it ends before it is written
    end(outcome(claim, State.ERROR))
    assert resign.write(current(), WAITING, [(read, b"new")]) == 0

    # Then
    assert manage("resign").out.startswith("1 payload (1 arguments of tasks that can be retried) signed again.\n")
    retire(settings)
    load_arguments(payload_of(handle, "autotask_result"), id=handle.id, name=fail.name)


def test_what_was_written_by_somebody_else_meanwhile_is_not_overwritten(settings):
    handle, claim = running(double, 1)
    end(outcome(claim, value=b"first"))
    (read,) = resign.read(current(), RESULTS, resigning._FIRST)
    execute(current(), "UPDATE autotask_result SET value = 'second', fence = fence + 1")
    assert resign.write(current(), RESULTS, [(read, b"resigned first")]) == 0
    assert rows(current(), "SELECT convert_from(value, 'utf8') FROM autotask_result") == [("second",)]


def test_what_comes_back_behind_the_look_is_found_all_the_same(settings, monkeypatch):
    # Given a failed task that is retried when live tasks have been looked at, and failed ones have not
    handle, claim = running(fail, 1)
    end(outcome(claim, State.ERROR))
    rotate(settings)
    read, retried = resign.read, []

    def retry_before(connection, place, after):
        if place is FAILED and not retried:
            retried.append(handle.retry())
        return read(connection, place, after)

    monkeypatch.setattr(resign, "read", retry_before)

    # When
    shown = manage("resign")

    # Then
    assert retried and shown.code == 0
    assert shown.out.startswith("1 payload (1 arguments of live tasks) signed again.\n")
    retire(settings)
    load_arguments(payload_of(handle), id=handle.id, name=fail.name)


def test_the_last_look_sees_everything_at_one_moment(other_connection):
    handle, claim = running(fail, 1)
    with resign.at_one_moment(current()):
        assert resign.read(current(), FAILED, resigning._FIRST) == []
        end(outcome(claim, State.ERROR), connection=other_connection)
        assert [signed.id for signed in resign.read(current(), WAITING, resigning._FIRST)] == [handle.id]


def test_nothing_is_written_where_there_is_nothing(settings):
    assert resign.read(current(), FAILED, resigning._FIRST) == []
    assert resign.write(current(), FAILED, []) == 0
    assert manage("resign").out == "0 payloads signed again.\n0 payloads signed with the current key now.\n"


def test_tasks_go_on_meanwhile_and_none_fails(start_worker, settings):
    # Given
    handles = double.enqueue_many([(number,) for number in range(400)])
    rotate(settings)
    start_worker(threads=2)

    # When
    shown = manage("resign")
    wait_until(lambda: rows(default, "SELECT count(*) FROM autotask_live") == [(0,)], what="the end of all tasks")
    again = manage("resign")

    # Then
    assert (shown.code, again.code) == (0, 0), shown.err + again.err
    retire(settings)
    results = rows(current(), "SELECT id, fence, value FROM autotask_result WHERE state = 3")
    assert {id: load_result(value, id=id, fence=fence) for id, fence, value in results} == {
        handle.id: 2 * number for number, handle in enumerate(handles)
    }
