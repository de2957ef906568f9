"""do_task: have a worker run the step that a client asks for, and answer with its result."""

import uuid
from typing import Any, NoReturn

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import registry
from autotask.api.simpletask2.problems import AlreadyDone, BadRequest, Locked, RowGone, StepOutOfTurn, WrongStep
from autotask.api.simpletask2.rows import row_of
from autotask.api.simpletask2.running import Asked, continued, run_anywhere, run_here
from autotask.conf import settings
from autotask.model_tasks import SimpleTask
from autotask.model_tasks.definition import ModelTask
from autotask.store import begin_step, notify, pull
from autotask.store.begin_step import Key
from autotask.store.connection import current
from autotask.store.pull import Place
from autotask.task import State

#: The keys that every request has; a handler gets them in any case.
_USUAL = {"task_info", "step"}


def done(body: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a step, and whether another one follows.

    A client begins with step 1 always. If the task has steps behind it, because another client was lost, the answer is that
    of the last of these, and the client continues from there.

    :param body: of the request, without the key; the handler gets it.
    :raises Problem: the task does not wait for that step, or the step has failed or still runs.
    """
    if (asked := _first(body)) is not None and (answer := run_here(*asked, None)) is not None:
        return answer
    row, number = _row(body.get("task_info")), _number(body)
    if row.done_time is not None:
        raise AlreadyDone(task_info=row.task_info)
    if row.task_id is None:
        raise RowGone(task_info=row.task_info)
    answer = (
        _run(row, row.task_id, number, body, is_refused=asked is not None) if 1 <= number <= row.final_step else None
    )
    return _resumed(current(), row, number) if answer is None else answer


def _first(body: dict[str, Any]) -> tuple[Asked, Key] | None:
    """Return the first step of a row, if that is asked for and nothing else was sent along: its row is not needed here."""
    task_info, step = body.get("task_info"), body.get("step", 1)
    if set(body) - _USUAL or type(step) is not int or step != 1 or not isinstance(task_info, str):
        return None
    name, _, text = task_info.partition(":")
    definition = registry.known(name)
    key = definition.key_of(text) if isinstance(definition, ModelTask) else None
    return None if key is None else (Asked(task_info, definition, 1), key)  # type: ignore[arg-type]  # it is one


def _run(
    row: SimpleTask, id: uuid.UUID, number: int, body: dict[str, Any], *, is_refused: bool
) -> dict[str, Any] | None:
    """Have a worker run the step, and return the answer when it has; None if the task does not wait for it.

    :param is_refused: whether the companion has just not taken it.
    """
    asked = Asked(row.task_info, row.task_definition, number)
    signed = _signed(row, id, body) if set(body) - _USUAL else None
    answer = None if is_refused else run_here(asked, id, signed)
    return run_anywhere(asked, id, signed) if answer is None else answer


def _signed(row: SimpleTask, id: uuid.UUID, body: dict[str, Any]) -> bytes | None:
    """Return the arguments of a task with a body from outside; with the values that the call carries, if there are some."""
    before = pull.payload(current(), id) if settings.CONTEXT else None
    return row.task_definition.payload_of(row, body, id, before)


def _row(task_info: Any) -> SimpleTask:
    try:
        return row_of(task_info)
    except RowGone:
        _discard(str(task_info))
        raise


def _discard(task_info: str) -> None:
    """Give the task of a row that is gone to a worker, which discards it: no client can."""
    connection = current()
    name, _, key = task_info.partition(":")
    definition = registry.known(name.lower())
    if definition is None:
        return
    for id in pull.of_row(connection, definition.name, f"{definition.name}:{key}"):
        begin_step.start(connection, id, definition.executor)
        notify.wake_after_commit(connection)


def _number(body: dict[str, Any]) -> int:
    number = body.get("step", 1)
    if type(number) is not int:
        raise BadRequest
    return number


def _resumed(connection: BaseDatabaseWrapper, row: SimpleTask, number: int) -> dict[str, Any]:
    """Answer a request for step 1 of a task that has steps behind it, and refuse all others."""
    assert row.task_id is not None
    now = pull.place(connection, row.task_id)
    behind = now.behind
    if number == 1 and behind and pull.hold(connection, row.task_id, behind=behind, seconds=row.do_task_timeout):
        return continued(connection, row.task_id, row.task_info)
    _refuse(row, number, now)


def _refuse(row: SimpleTask, number: int, now: Place) -> NoReturn:
    if now.state is None:
        raise RowGone(task_info=row.task_info)
    if now.state.ended:
        raise AlreadyDone(task_info=row.task_info)
    if not now.is_remote:
        raise Locked(task_info=row.task_info)
    if number == 1 and now.behind:
        raise WrongStep(task_info=row.task_info, status="Doing")
    if number != now.behind + 1:
        raise StepOutOfTurn(task_info=row.task_info, expected=now.behind + 1, step=number)
    if now.state is State.READY:
        raise Locked(task_info=row.task_info)  # somebody else was faster, and it has come back since
    raise WrongStep(task_info=row.task_info, status=now.state.name.capitalize())
