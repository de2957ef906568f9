"""Discarding tasks that failed or were cancelled: their rows go away with all that belongs to them."""

import threading
import uuid

import pytest

from autotask.acts import tasks as acts
from autotask.acts.answers import Refusal
from autotask.exceptions import NotRetryable, TaskExpired
from autotask.handle import TaskHandle
from autotask.models import Attempt, LogPiece, Result, Step
from autotask.on_end import stored
from autotask.store import task_logs
from autotask.store.connection import current, execute, rows
from autotask.store.discard import discard
from autotask.task import State, new_id
from autotask.tasks import delayed_task
from tests.helpers import wait_until
from tests.integration.admin.pages import ended
from tests.integration.commands.command import manage

pytestmark = pytest.mark.django_db(transaction=True)


#: How many statements wait for a transaction.
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@delayed_task
def add(x, y):
    return x + y


def with_all(state: State, **fields) -> uuid.UUID:
    """Store an ended task with an attempt, a step and a line."""
    id = ended(state, **fields).id
    execute(
        current(),
        "INSERT INTO autotask_attempt (task_id, number, fence, state, ended_at) VALUES (%(id)s, 1, 1, 4, now())",
        {"id": id},
    )
    execute(
        current(),
        "INSERT INTO autotask_step (task_id, number, name, started_at, ended_at) VALUES (%(id)s, 1, '', now(), now())",
        {"id": id},
    )
    task_logs.write(current(), [task_logs.alone(id, 1, "line\n")])
    return id


def left() -> list[int]:
    return [model.objects.count() for model in (Result, Attempt, Step, LogPiece)]


@pytest.mark.parametrize("state", [State.ERROR, State.CANCELLED], ids=["error", "cancelled"])
def test_a_task_is_discarded_with_all_that_belongs_to_it(state):
    # Given
    handle, other = TaskHandle(with_all(state)), with_all(state)
    assert handle.ready

    # When
    assert handle.discard()

    # Then
    assert left() == [1, 1, 1, 1] and Result.objects.get().id == other
    assert not handle.discard()
    with pytest.raises(TaskExpired):
        handle.refresh()
    with pytest.raises(NotRetryable):
        handle.retry()


def test_what_is_live_done_or_unknown_is_left_alone():
    live, done = add(1, 2).id, with_all(State.DONE)

    answers = acts.discard([live, done, unknown := new_id()])

    assert {answer.key: answer.refused for answer in answers} == {
        live: State.READY,
        done: State.DONE,
        unknown: Refusal.GONE,
    }
    assert left() == [1, 1, 1, 1]
    assert not TaskHandle(live).discard()


def test_lines_in_the_same_piece_of_the_log_are_left_to_the_others():
    # Given
    tasks = sorted((ended(State.ERROR).id for _ in range(4)), key=lambda id: id.int)
    text = "".join(task_logs.marked(id.int, attempt, f"{id} {attempt}\n") for id in tasks for attempt in (1, 2))
    task_logs.write(current(), [task_logs.NewPiece(tasks[0], tasks[-1], text)] * 2)

    # When
    answers = [*acts.discard(tasks[1:3]), *acts.discard(tasks[:1])]

    # Then
    assert [answer.refused for answer in answers] == [None] * 3
    assert [task_logs.lines(current(), id) for id in tasks[:3]] == ["", "", ""]
    last = tasks[3]
    assert task_logs.lines(current(), last) == f"{last} 1\n{last} 2\n" * 2
    acts.discard([last])
    assert not LogPiece.objects.exists()


def test_two_who_discard_tasks_of_the_same_piece_leave_lines_of_neither(other_connection):
    # Given
    first, second, third = sorted((ended(State.ERROR).id for _ in range(3)), key=lambda id: id.int)
    text = "".join(task_logs.marked(id.int, 1, f"{id}\n") for id in (first, second, third))
    task_logs.write(current(), [task_logs.NewPiece(first, third, text)])
    execute(other_connection, "BEGIN")
    assert discard(other_connection, [first]) == [first]
    # When
    found: list[list[uuid.UUID]] = []

    def discard_second() -> None:
        found.append(discard(current(), [second]))
        current().close()

    waiting = threading.Thread(target=discard_second)
    waiting.start()
    wait_until(lambda: rows(current(), WAITS) == [(1,)], what="the second to wait for the first")
    execute(other_connection, "COMMIT")
    waiting.join()
    # Then
    assert found == [[second]]
    assert [task_logs.lines(current(), id) for id in (first, second, third)] == ["", "", f"{third}\n"]


def test_what_is_still_to_be_mailed_is_kept():
    id = with_all(State.ERROR, on_end=stored(["ann@example.org"], None))

    assert [answer.refused for answer in acts.discard([id])] == [Refusal.NEEDED]
    assert not TaskHandle(id).discard()
    Result.objects.update(settled_at="2026-01-01T00:00Z")
    assert TaskHandle(id).discard()


def test_what_rows_of_the_site_refer_to_is_kept_and_holds_up_no_other():
    # Given
    needed, other = with_all(State.ERROR), with_all(State.ERROR)
    execute(current(), "CREATE TABLE receipt (task_id uuid REFERENCES autotask_result (id))")
    try:
        execute(current(), "INSERT INTO receipt VALUES (%(id)s)", {"id": needed})

        # When
        answers = acts.discard([needed, other])
    finally:
        execute(current(), "DROP TABLE receipt")

    # Then
    assert {answer.key: answer.refused for answer in answers} == {needed: Refusal.NEEDED, other: None}
    assert left() == [1, 1, 1, 1]


def test_what_somebody_else_is_acting_on_is_not_waited_for(other_connection):
    # Given
    id = with_all(State.ERROR)
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM autotask_result WHERE id = %(id)s FOR UPDATE", {"id": id})

    # Then
    assert not TaskHandle(id).discard()
    execute(other_connection, "ROLLBACK")
    assert TaskHandle(id).discard()


def test_the_command_discards_and_says_why_not():
    failed, live = with_all(State.ERROR), add(1, 2).id

    assert manage("discard", failed).out == f"{failed} is discarded\n"
    refused = manage("discard", live)
    assert f"{live} was not discarded: it is waiting" in refused.err and refused.code == 1
