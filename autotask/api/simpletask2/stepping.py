"""do_task: have a worker run the step that a client asks for, and wait for its end."""

import time
import uuid
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import handover, payload, registry
from autotask.api.simpletask2 import offers
from autotask.api.simpletask2.problems import (
    AlreadyDone,
    BadRequest,
    HandlerFailed,
    Locked,
    NoHandler,
    RowGone,
    StepOutOfTurn,
    WrongStep,
)
from autotask.api.simpletask2.rows import row_of
from autotask.conf import settings
from autotask.exceptions import HandlerMissing
from autotask.model_tasks import SimpleTask
from autotask.model_tasks.definition import ModelTask
from autotask.store import notify, pull, read, steps
from autotask.store.connection import current, shares_sessions
from autotask.store.enqueue import NewTask
from autotask.store.notify import ChannelListener, PollingOnly
from autotask.store.pull import Place
from autotask.store.read import StoredTask
from autotask.store.told import told_task
from autotask.task import State

#: Seconds between two looks without a notification, at first and finally.
FIRST_LOOK = 0.05
LONGEST_LOOK = 1.0

#: Bytes of arguments that are handed to the companion: with the names, they fit into what a pipe takes at once.
LARGEST_HANDED = 2000

#: The keys that every request has; a handler gets them in any case.
_USUAL = {"task_info", "step"}


def done(body: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a step, and whether another one follows.

    A client begins with step 1 always. If the task has steps behind it, because another client was lost, the answer is that
    of the last of these, and the client goes on from there.

    :param body: of the request, without the key; the handler gets it.
    :raises Problem: the task does not wait for that step, or the step has failed or goes on.
    """
    if (asked := _just_offered(body)) is not None and (answer := _run(asked, 1, None)) is not None:
        return answer
    row, number = _row(body.get("task_info")), _number(body)
    if row.done_time is not None:
        raise AlreadyDone(task_info=row.task_info)
    if row.task_id is None:
        raise RowGone(task_info=row.task_info)
    asked = _Asked(row.task_id, row.task_info, type(row), row.task_definition)
    signed = _signed(row, row.task_id, body) if set(body) - _USUAL else None
    answer = _run(asked, number, signed) if 1 <= number <= row.final_step else None
    return _resumed(current(), row, number) if answer is None else answer


class _Asked(NamedTuple):
    """The task of which a client asks for a step.

    :ivar model: the class of its row.
    """

    id: uuid.UUID
    task_info: str
    model: type[SimpleTask]
    definition: ModelTask


def _just_offered(body: dict[str, Any]) -> _Asked | None:
    """Return the task if this process has just offered it, and its first step is asked for: its row is not needed here."""
    if set(body) - _USUAL or type(step := body.get("step", 1)) is not int or step != 1:
        return None
    task_info: Any = body.get("task_info")
    id = offers.offers.given(task_info)
    definition = None if id is None else registry.known(task_info.partition(":")[0])
    if id is None or not isinstance(definition, ModelTask):
        return None
    return _Asked(id, task_info, definition.model, definition)  # type: ignore[arg-type]  # the model is a SimpleTask


def _signed(row: SimpleTask, id: uuid.UUID, body: dict[str, Any]) -> bytes | None:
    """Return the arguments of a task with a body from outside; with the values that the call carries, if there are some."""
    before = pull.payload(current(), id) if settings.CONTEXT else None
    return row.task_definition.payload_of(row, body, id, before)


def _run(asked: _Asked, number: int, signed: bytes | None) -> dict[str, Any] | None:
    """Have a worker run the step, and return the answer when it has; None if the task does not wait for it.

    :param signed: the arguments of the task from now on; None: as they are.
    """
    connection = current()
    listener = PollingOnly() if shares_sessions() else ChannelListener(connection, notify.ended_channel(asked.id))
    try:
        if not _begin(connection, asked, number, signed):
            return None
        return _Waiting(connection, asked, number, listener).answer()
    finally:
        listener.close()


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
        pull.start(connection, id, definition.executor)
        notify.wake_after_commit(connection)


def _number(body: dict[str, Any]) -> int:
    number = body.get("step", 1)
    if type(number) is not int:
        raise BadRequest
    return number


def _begin(connection: BaseDatabaseWrapper, asked: _Asked, number: int, signed: bytes | None) -> bool:
    """Make the step due for a worker; return False if the task does not wait for it."""
    id, definition = asked.id, asked.definition

    def claim(worker_id: uuid.UUID) -> tuple[NewTask, int] | None:
        claimed = pull.claim(connection, id, worker_id, step=number, payload=signed, largest=LARGEST_HANDED)
        if claimed is None:
            return None
        kind = replace(definition.kind, queue=claimed.queue, priority=claimed.priority, retries=claimed.retries)
        return NewTask(id, kind, asked.task_info, claimed.payload), claimed.fence

    if definition.kind.is_plain and handover.store_claimed(connection, claim) is not None:
        return True
    if not pull.start(connection, id, definition.executor, step=number, payload=signed):
        return False
    notify.wake_after_commit(connection)
    return True


def _resumed(connection: BaseDatabaseWrapper, row: SimpleTask, number: int) -> dict[str, Any]:
    """Answer a request for step 1 of a task that has steps behind it, and refuse all others."""
    assert row.task_id is not None
    now = pull.place(connection, row.task_id)
    behind = now.behind
    if number == 1 and behind and pull.hold(connection, row.task_id, behind=behind, seconds=row.do_task_timeout):
        return _continued(connection, row.task_id, row.task_info)
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


def _continued(connection: BaseDatabaseWrapper, id: uuid.UUID, task_info: str) -> dict[str, Any]:
    """Return the answer to the last step that has ended."""
    last = steps.last(connection, id)
    if last is None:  # somebody has started the row again
        raise Locked(task_info=task_info)
    value = payload.load_step(last.value, id=id, step=steps.word(last.number))
    return _result(task_info, last.number, value, more=True)


def _result(task_info: str, number: int, value: Any, *, more: bool) -> dict[str, Any]:
    return {"continue_flag": more, "task_info": task_info, "next_step": number + 1, "data": value}


class _Waiting:
    """Waits for the end of a step.

    :param listener: hears that it has ended.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, asked: _Asked, number: int, listener: ChannelListener | PollingOnly
    ) -> None:
        self._connection, self._asked, self._number, self._listener = connection, asked, number, listener
        self._id = asked.id
        self._deadline = time.monotonic() + settings.PULL_WAIT

    def answer(self) -> dict[str, Any]:
        """Return the answer when the step has ended.

        :raises Locked: it has not ended in time; it goes on.
        """
        look = FIRST_LOOK if isinstance(self._listener, PollingOnly) else LONGEST_LOOK
        while (left := self._deadline - time.monotonic()) > 0:
            self._listener.wait(min(look, left))
            if (told := told_task(self._id, self._listener.told)) is not None:
                return self._final(payload.load_result(told.value, id=self._id, fence=told.fence))
            if (found := self._look()) is not None:
                return found
            look = min(2 * look, LONGEST_LOOK)
        raise Locked(task_info=self._asked.task_info)

    def _look(self) -> dict[str, Any] | None:
        now = pull.place(self._connection, self._id)
        if now.state is not None and not now.state.ended:
            is_over = now.is_remote and now.behind >= self._number
            return _continued(self._connection, self._id, self._asked.task_info) if is_over else None
        ended = read.task(self._connection, self._id)
        return self._of_row() if ended is None else self._of_task(ended)

    def _of_task(self, ended: StoredTask) -> dict[str, Any]:
        if ended.state is State.DONE:
            return self._final(payload.load_result(ended.value, id=self._id, fence=ended.fence or 0))
        if ended.state is State.CANCELLED:
            row_of(self._asked.task_info)  # perhaps it is gone since the task was offered
        failed = read.last_attempts(self._connection, self._id, 1) if ended.state is State.ERROR else []
        kind = failed[0].error_type.rpartition(".")[2] if failed else ""
        if kind == HandlerMissing.__name__:
            raise NoHandler(model=self._asked.definition.name, handler=self._handler)
        raise self._failed(ended.error_message.removeprefix(f"{kind}: "))

    def _of_row(self) -> dict[str, Any]:
        """Return the answer from the row: the result is not kept any more."""
        row = row_of(self._asked.task_info)
        if row.success:
            return self._final(row.result)
        raise self._failed(row.error_message)

    def _final(self, value: Any) -> dict[str, Any]:
        return _result(self._asked.task_info, self._number, value, more=False)

    def _failed(self, error: str) -> HandlerFailed:
        return HandlerFailed(task_info=self._asked.task_info, handler=self._handler, error=error or "it was cancelled")

    @property
    def _handler(self) -> str:
        return f"do_task_main_step{self._number}"
