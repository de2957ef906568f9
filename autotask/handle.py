"""The handle that a call returns: status, ready, result, wait and cancel for one row."""

import asyncio
import time
import uuid
from collections.abc import Generator
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import listener, payload, why
from autotask.conf import settings
from autotask.context import Progress
from autotask.exceptions import (
    InvalidOption,
    InvalidOptionType,
    NotRetryable,
    TaskCancelled,
    TaskFailed,
    WaitInTransaction,
    WaitTimeout,
)
from autotask.flow import without_prefix
from autotask.snapshot import Seen, Snapshot
from autotask.store import background, cancel, discard, notify, read, requeue, steps, task_logs, uncommitted
from autotask.store.connection import current, in_transaction, note_pooler, shares_sessions
from autotask.store.read import StoredAttempt
from autotask.store.told import soon, told_task
from autotask.task import CANCELLED, DONE, ERROR, State, Status
from autotask.values import whole
from autotask.why import Explanation, hints

R = TypeVar("R")

#: wait() listens. It also looks by itself, first after a twentieth of a second and finally each second, in case no
#: notification arrives (through a pooler that shares sessions between transactions).
_FIRST_LOOK = 0.05
_LONGEST_LOOK = 1.0


class TaskHandle(Generic[R]):
    """One task, as its caller sees it.

    ``status``, ``ready``, ``result``, ``error_message``, ``progress`` and ``attempts`` come from one read of the database,
    so they agree with each other. Once the task has finished, what was read is kept. Before that, an attribute that is
    asked for a second time reads again, and the others follow: ``while not handle.ready: …`` ends.
    :meth:`refresh` reads at once. In a coroutine, only :meth:`arefresh` reads.

    ``await handle`` is ``await handle.await_result()``.

    :param id: the id of the task, or its text: for a handle of a task that was enqueued elsewhere.
    :param name: the name of the task, for messages.
    :param created: see the attribute.
    :raises InvalidOption: the text is not a UUID. (A ValueError.)
    :raises InvalidOptionType: the id is neither a UUID nor text. (A TypeError.)
    """

    # Small: a call for many returns as many.
    __slots__ = ("__weakref__", "_seen", "created", "id", "name")

    def __init__(self, id: uuid.UUID | str, name: str = "", created: bool | None = None) -> None:
        self.id = id if isinstance(id, uuid.UUID) else _uuid(id)
        self.name = name
        self.created = created
        self._seen: Snapshot | None = None

    def __repr__(self) -> str:
        return f"<TaskHandle {self.name or '?'} {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __await__(self) -> Generator[Any, None, R]:
        return self.await_result().__await__()

    @property
    def status(self) -> Status:
        """WAITING, RUNNING, DONE, ERROR or CANCELLED.

        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        """
        return self._look("status").state.status

    @property
    def ready(self) -> bool:
        """Whether the task has finished: DONE, ERROR or CANCELLED.

        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        """
        return self._look("ready").state.ended

    @property
    def result(self) -> R | None:
        """The value of the function; None unless the task is DONE.

        Model instances in it are as they are in the database now.

        :raises ObjectGone: one of them no longer exists.
        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        :raises PayloadRefused: the stored result was altered.
        """
        stored = self._look("result")
        if stored.state is not State.DONE:
            return None
        value: R | None = payload.load_result(stored.value, id=stored.id, fence=stored.fence or 0)
        return value

    @property
    def error_message(self) -> str:
        """Why the task is in ERROR or CANCELLED, or why its last attempt failed while it waits for a retry.

        It is "" without an error, and for a task that was cancelled while it waited.

        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        """
        return self._look("error_message").error_message

    @property
    def progress(self) -> Progress | None:
        """The progress that the task has reported, see :meth:`autotask.context.TaskContext.progress`.

        While the task runs, it is about a second old; afterwards it is the last report of the last attempt; None if there
        was none.

        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        """
        return self._look("progress").progress

    @property
    def attempts(self) -> int:
        """The number of attempts that have been started.

        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        """
        return self._look("attempts").attempt

    @property
    def failed_attempts(self) -> list[StoredAttempt]:
        """The attempts that did not succeed, oldest first, with error and traceback.

        This reads all of them, each time: a task with a thousand retries can have many megabytes of tracebacks.
        :attr:`error_message` reads only the last one.
        """
        return read.attempts(current(), self.id)

    def wait(self, timeout: float | None = None) -> R:
        """Wait until the task has finished, and return its result.

        :param timeout: seconds to wait at most; None waits forever.
        :raises TaskFailed: it ended in ERROR.
        :raises TaskCancelled: it was cancelled, has expired, or its function raised Cancel or Discard.
        :raises WaitTimeout: it has not finished in time. (A TimeoutError.)
        :raises WaitInTransaction: it has not finished, and there is an open transaction, in which waiting might never end.
        :raises TaskNotFound: the task is not in the database: see :meth:`refresh`.
        """
        connection = current()
        if connection.in_atomic_block or not connection.get_autocommit() or uncommitted.find(self.id):
            self._refuse_unless_ended()
        elif self._snapshot.kept is None:
            self._listen(connection, timeout)
        return self._outcome()

    async def await_result(self, timeout: float | None = None) -> R:
        """Like :meth:`wait`, without blocking the event loop."""
        if self._snapshot.kept is None and settings.IMMEDIATE:
            await self.arefresh()  # It has finished: there is nothing to wait for.
        if self._snapshot.kept is None:
            await self._listen_async(timeout)
        try:
            return self._outcome()
        except SynchronousOnlyOperation:  # fetches the model instances in the result, or the last traceback
            return await sync_to_async(self._outcome)()

    def why(self) -> Explanation:
        """Return why the task does not run now, or what it does: a stable code, a sentence, and the checks that led there.

        It is one statement. Also for a task that is not in the database, and before ``migrate``.
        """
        return why.explain(current(), self.id)

    async def awhy(self) -> Explanation:
        """Like :meth:`why`, without blocking the event loop."""
        return await sync_to_async(self.why)()

    def cancel(self) -> bool:
        """Cancel the task: at once if it waits; if it runs, its worker stops it.

        The worker asks it to stop, and soon interrupts it. It is CANCELLED when it has stopped, but DONE if it returns a
        value before that.

        A call inside a transaction on another database than that of autotask is stored when that transaction commits. If it is cancelled before that, it is not stored at all.

        :returns: whether it was cancelled, or its worker notified; False if it had finished.
        """
        if self._snapshot.kept is None:
            self._snapshot.keep(None)
        if uncommitted.forget(self.id):
            return True
        return cancel.cancel(current(), self.id) is not cancel.Cancellation.TOO_LATE

    async def acancel(self) -> bool:
        """Like :meth:`cancel`, from a coroutine."""
        return await sync_to_async(self.cancel)()

    def retry(self, *, from_start: bool = False) -> None:
        """Run a task again that is in ERROR or CANCELLED, with all its retries.

        :param from_start: whether to forget what its steps have returned, so that all of them run again.
        :raises NotRetryable: it is live, DONE, or no longer in the database.
        """
        connection = current()

        def requeue_it() -> None:
            if not requeue.requeue(connection, self.id):
                raise NotRetryable(id=self.id, reason=self._why_not_retried(connection))
            if from_start:
                steps.forget(connection, self.id)

        if from_start:
            in_transaction(connection, requeue_it)
        else:
            requeue_it()
        self._snapshot.keep(None)
        notify.wake_after_commit(connection)
        if not self.name or self.name.startswith(background.PREFIX):
            background.call_for(connection, [self.id])

    async def aretry(self, *, from_start: bool = False) -> None:
        """Like :meth:`retry`, from a coroutine."""
        await sync_to_async(self.retry)(from_start=from_start)

    def discard(self) -> bool:
        """Delete a task that is in ERROR or CANCELLED, with its arguments, attempts, steps and log.

        Afterwards it no longer counts as a failure, cannot be retried, and its handle raises TaskExpired, as after
        its time to live.

        :returns: whether it was deleted; False if it is live, DONE, or not in the database, if its mails or webhooks are
            still to be sent, or if rows of the site refer to it.
        """
        gone = bool(discard.discard(current(), [self.id]))
        if gone:
            self._snapshot.keep(None)
        return gone

    async def adiscard(self) -> bool:
        """Like :meth:`discard`, from a coroutine."""
        return await sync_to_async(self.discard)()

    def logs(self, attempt: int | None = None) -> str:
        """Return the lines that the task has logged, oldest first; "" if there are none.

        They are there about a second after they were logged, if ``AUTOTASK_LOGS`` is set, for as long as that says.

        :param attempt: the number of one attempt, from 1; None: all.
        :raises InvalidOption: no attempt has that number. (A ValueError.)
        :raises InvalidOptionType: it is not a whole number. (A TypeError.)
        """
        if attempt is not None:
            whole(attempt, "attempt", "TaskHandle.logs", 1, task_logs.LAST_ATTEMPT)
        return task_logs.lines(current(), self.id, attempt)

    async def alogs(self, attempt: int | None = None) -> str:
        """Like :meth:`logs`, from a coroutine."""
        return await sync_to_async(self.logs)(attempt)

    def refresh(self) -> None:
        """Read the task from the database again, for all attributes.

        :raises TaskExpired: it is not there: its result was pruned, or it was never committed.
        :raises TaskNotFound: no call ever made the id. (TaskExpired is a subclass.)
        """
        self._snapshot.take(self.id, self.name)

    async def arefresh(self) -> None:
        """Like :meth:`refresh`, from a coroutine; afterwards the attributes can be used there."""
        await sync_to_async(self.refresh)()

    @property
    def _snapshot(self) -> Snapshot:
        if self._seen is None:
            self._seen = Snapshot()
        return self._seen

    def _read(self) -> Seen:
        return self._snapshot.kept or self._snapshot.take(self.id, self.name)

    def _look(self, attribute: str) -> Seen:
        return self._snapshot.look(attribute, self.id, self.name)

    def _why_not_retried(self, connection: BaseDatabaseWrapper) -> str:
        if (held := requeue.holder(connection, self.id)) is not None:
            key, holder = held
            return f"task {holder} has its unique key {without_prefix(key)!r} now"
        stored = read.task(connection, self.id) or uncommitted.find(self.id)
        return f"it is {stored.state.status}" if stored else "it is not in the database"

    def _refuse_unless_ended(self) -> None:
        if not self._read().state.ended:
            raise WaitInTransaction(id=self.id, name=self.name, hint=hints.for_tests())

    def _listen(self, connection: BaseDatabaseWrapper, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        if (words := soon(connection, self.id, self.name, deadline)) is not None:
            self._snapshot.keep(told_task(self.id, words))
            if self._read().state.ended:
                return  # else somebody has had it run again meanwhile
        listener, sure = (notify.PollingOnly(), False) if shares_sessions() else read.listen(connection, self.id)
        longest = None
        try:
            if sure:  # else it may have finished before, which the first look shows
                self._wait_on(listener, _FIRST_LOOK, deadline)
                longest = None if listener.has_heard else _longest_look(connection)
            self._look_until(listener, longest, deadline, timeout)
        finally:
            listener.close()

    def _look_until(
        self,
        listener: notify.ChannelListener | notify.PollingOnly,
        longest: float | None,
        deadline: float | None,
        timeout: float | None,
    ) -> None:
        look = _FIRST_LOOK
        while not (stored := self._read()).state.ended:
            if longest is None:
                longest = _longest_look(current())
            look = min(look, longest)
            if not self._wait_on(listener, look, deadline):
                raise self._timeout(timeout, stored.state.status)
            look = 2 * look

    def _wait_on(
        self, listener: notify.ChannelListener | notify.PollingOnly, seconds: float, deadline: float | None
    ) -> bool:
        """Wait for a notification or until the time is over; return False at once when the deadline has passed."""
        left = seconds if deadline is None else min(seconds, deadline - time.monotonic())
        if left > 0:
            listener.wait(left)
            self._snapshot.keep(told_task(self.id, listener.told))
        return left > 0

    def _timeout(self, seconds: float | None, status: Status) -> WaitTimeout:
        reason = hints.of_waiting(current(), self.id)
        return WaitTimeout(id=self.id, name=self.name, seconds=seconds, status=status, reason=reason)

    def _outcome(self) -> R:
        stored = self._read()
        if stored.state.status is ERROR:
            raise self._failure(stored)
        if stored.state.status is CANCELLED:
            reason = f": {stored.error_message}" if stored.error_message else ""
            raise TaskCancelled(id=self.id, name=stored.name, reason=reason)
        assert stored.state.status is DONE
        result: Any = self.result
        return result  # type: ignore[no-any-return]  # None, too, is a value of the function

    def _failure(self, stored: Seen) -> TaskFailed:
        last = read.last_attempts(current(), self.id, 1)
        facts = {"error_type": last[0].error_type, "traceback": last[0].traceback} if last else {}
        return TaskFailed(id=self.id, name=stored.name, error_message=stored.error_message, **facts)

    async def _listen_async(self, timeout: float | None) -> None:
        try:
            self._snapshot.keep(await asyncio.wait_for(listener.ended(self.id), timeout))
        except TimeoutError:
            raise await sync_to_async(lambda: self._timeout(timeout, self._read().state.status))() from None
        if self._snapshot.kept is None:
            # The listener's connection does not see it. In an open transaction, this thread may.
            await sync_to_async(self._refuse_unless_ended)()


def _longest_look(connection: BaseDatabaseWrapper) -> float:
    """Return the most seconds between two looks: the server limits how long a session may be idle.

    Called only if no notification has come for a while. A pooler may be the reason.
    """
    patience, pooled = read.session(connection)
    if pooled:
        note_pooler()
    return min(_LONGEST_LOOK, patience / 2)


def _uuid(id: Any) -> uuid.UUID:
    # Not left to PostgreSQL, whose error would abort the caller's transaction.
    expected = "a UUID, or the text of one"
    if not isinstance(id, str):
        raise InvalidOptionType(option="id", where="TaskHandle", expected=expected, value=id, type=type(id).__name__)
    try:
        return uuid.UUID(id)
    except ValueError:
        raise InvalidOption(option="id", where="TaskHandle", expected=expected, value=id) from None
