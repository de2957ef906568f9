"""Have a worker run a step for which a client asks, and wait for its end."""

import time
import uuid
from dataclasses import replace
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import answers, handover, payload, read_rows
from autotask.answers import Box
from autotask.api.simpletask2.problems import HandlerFailed, Locked, NoHandler, WrongStep
from autotask.api.simpletask2.rows import row_of
from autotask.conf import settings
from autotask.exceptions import HandlerMissing, PayloadRefused
from autotask.handover import Stored
from autotask.model_tasks.definition import ModelTask
from autotask.store import begin_step, notify, pull, read, steps
from autotask.store.begin_step import Claimed, Key
from autotask.store.connection import current, shares_sessions
from autotask.store.enqueue import Kind, NewTask
from autotask.store.notify import ChannelListener, PollingOnly
from autotask.store.read import StoredTask
from autotask.store.told import result_in, step_in, told_task
from autotask.task import State

#: Seconds between two looks without a notification, at first and finally.
FIRST_LOOK = 0.05
LONGEST_LOOK = 1.0

#: Seconds for which a request waits for the companion to offer to take the step: while that looks around, it offers nothing.
PATIENCE = 0.02

#: Seconds for which a client waits while its first step waits for a limit or a rate; for as long as BACK, it is offered to nobody then.
LONGEST_AT_GATE = 2.0
BACK = 5.0

#: Bytes of arguments that are handed to the companion: with the names, they fit into what a pipe takes at once.
LARGEST_HANDED = 2000


class Asked(NamedTuple):
    """The step for which a client asks.

    :ivar number: of the step.
    """

    task_info: str
    definition: ModelTask
    number: int


def run_here(asked: Asked, which: uuid.UUID | Key, signed: bytes | None) -> dict[str, Any] | None:
    """Have the companion of this process run the step, and return the answer when it has.

    :param which: the task, or the key of its row.
    :param signed: the arguments of the task from now on; None: as they are.
    :returns: None if the companion does not offer that, the task does not wait for the step, or it is not plain; then nothing was begun.
    """
    if not asked.definition.kind.is_plain:
        return None
    with answers.box() as box:
        claimed = _handed(asked, which, signed, "" if box is None else box.address)
        if claimed is None:
            return None
        waiting = _Waiting(current(), claimed.id, asked)
        if box is not None and (found := waiting.told_in(box, claimed.fence)) is not None:
            return found
    with waiting:
        return waiting.look() or waiting.answer()


def run_anywhere(asked: Asked, id: uuid.UUID, signed: bytes | None) -> dict[str, Any] | None:
    """Make the step due for any worker, and return the answer when one has run it; None if the task does not wait for it."""
    connection = current()
    with _Waiting(connection, id, asked) as waiting:
        if not begin_step.start(connection, id, asked.definition.executor, step=asked.number, payload=signed):
            return None
        notify.wake_after_commit(connection)
        return waiting.answer()


def _handed(asked: Asked, which: uuid.UUID | Key, signed: bytes | None, reply: str) -> Claimed | None:
    """Store the step as claimed by the companion, and hand it over."""
    connection, begun = current(), None

    def claim(worker_id: uuid.UUID) -> Stored | None:
        nonlocal begun
        began = time.monotonic()
        begun = begin_step.claim(
            connection, which, worker_id, step=asked.number, payload=signed, largest=LARGEST_HANDED
        )
        if begun is None:
            return None
        kind = _kind(asked.definition.kind, begun)
        row = b"" if begun.row is None else read_rows.pack(begun.row, began)
        return Stored(NewTask(begun.id, kind, asked.task_info, begun.payload), begun.fence, row)

    handover.store_claimed(connection, claim, reply, PATIENCE)
    return begun


def _kind(usual: Kind, begun: Claimed) -> Kind:
    if (usual.queue, usual.priority, usual.retries) == (begun.queue, begun.priority, begun.retries):
        return usual
    return replace(usual, queue=begun.queue, priority=begun.priority, retries=begun.retries)


def continued(connection: BaseDatabaseWrapper, id: uuid.UUID, task_info: str) -> dict[str, Any]:
    """Return the answer to the last step that has ended."""
    last = steps.last(connection, id)
    if last is None:  # somebody has started the row again
        raise Locked(task_info=task_info)
    value = payload.load_step(last.value, id=id, step=steps.word(last.number))
    return _result(task_info, last.number, value, more=True)


def _result(task_info: str, number: int, value: Any, *, more: bool) -> dict[str, Any]:
    return {"continue_flag": more, "task_info": task_info, "next_step": number + 1, "data": value}


class _Waiting:
    """Waits for the end of a step; in a block, it listens for it."""

    def __init__(self, connection: BaseDatabaseWrapper, id: uuid.UUID, asked: Asked) -> None:
        self._connection, self._id, self._asked = connection, id, asked
        self._began = time.monotonic()
        self._deadline = self._began + settings.PULL_WAIT
        self._listener: ChannelListener | PollingOnly = PollingOnly()

    def __enter__(self) -> "_Waiting":
        if not shares_sessions():
            self._listener, _ = read.listen(self._connection, self._id)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def told_in(self, box: Box, fence: int) -> dict[str, Any] | None:
        """Wait for a moment for the answer of the companion; None: it tells nothing, so the table has to be looked at."""
        words, number = box.wait(fence, min(LONGEST_LOOK, settings.PULL_WAIT)), self._asked.number
        if not words:
            return None
        try:
            if (value := result_in(words)) is not None:
                return self._final(payload.load_result(value, id=self._id, fence=fence))
            if (value := step_in(words, number)) is not None:
                returned = payload.load_step(value, id=self._id, step=steps.word(number))
                return _result(self._asked.task_info, number, returned, more=True)
        except PayloadRefused:  # somebody else has sent it
            pass
        return None

    def answer(self) -> dict[str, Any]:
        """Return the answer when the step has ended.

        :raises Locked: it has not ended in time, and continues.
        :raises WrongStep: it has not begun, because a limit or a rate is reached.
        """
        look = FIRST_LOOK if isinstance(self._listener, PollingOnly) else LONGEST_LOOK
        while (left := self._deadline - time.monotonic()) > 0:
            self._listener.wait(min(look, left))
            if (told := told_task(self._id, self._listener.told)) is not None:
                return self._final(payload.load_result(told.value, id=self._id, fence=told.fence))
            if (found := self.look()) is not None:
                return found
            look = min(2 * look, LONGEST_LOOK)
        raise Locked(task_info=self._asked.task_info)

    def look(self) -> dict[str, Any] | None:
        """Return the answer from the tables; None if the step has not ended."""
        now = pull.place(self._connection, self._id)
        if now.state is not None and not now.state.ended:
            if now.state is State.HELD:
                self._leave_gate()
            is_over = now.is_remote and now.behind >= self._asked.number
            return continued(self._connection, self._id, self._asked.task_info) if is_over else None
        ended = read.task(self._connection, self._id)
        return self._of_row() if ended is None else self._of_task(ended)

    def _leave_gate(self) -> None:
        """Put the task back if its first step has waited at a gate for long: so the client is free for other tasks.

        :raises WrongStep: it is back. A later step waits on, since the client would have to make its request again.
        """
        waits_long = time.monotonic() - self._began > min(LONGEST_AT_GATE, settings.PULL_WAIT / 2)
        if self._asked.number == 1 and waits_long and begin_step.put_back(self._connection, self._id, BACK):
            raise WrongStep(task_info=self._asked.task_info, status=State.HELD.name.capitalize())

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
        """Return the answer from the row: the result is no longer kept."""
        row = row_of(self._asked.task_info)
        if row.success:
            return self._final(row.result)
        raise self._failed(row.error_message)

    def _final(self, value: Any) -> dict[str, Any]:
        return _result(self._asked.task_info, self._asked.number, value, more=False)

    def _failed(self, error: str) -> HandlerFailed:
        return HandlerFailed(task_info=self._asked.task_info, handler=self._handler, error=error or "it was cancelled")

    @property
    def _handler(self) -> str:
        return f"do_task_main_step{self._asked.number}"
