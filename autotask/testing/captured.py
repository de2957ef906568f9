"""captured_tasks(): note the tasks enqueued inside a block, and run them when the test says so."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, overload

from asgiref.sync import sync_to_async

from autotask.definition import Definition
from autotask.exceptions import EndlessTasks, RunInTransaction
from autotask.handle import TaskHandle
from autotask.signals import tasks_stored
from autotask.store import hasten
from autotask.store.connection import current
from autotask.store.enqueue import NewTask
from autotask.task import ClaimedTask
from autotask.testing import transactions
from autotask.testing.enqueued import Enqueued
from autotask.testing.expectation import Expectation, TaskLike
from autotask.testing.runner import Runner
from autotask.testing.timeline import Waiting, due_by, next_moment
from autotask.testing.undone import Undone

#: At most this many attempts are run at a time: no test needs more, but a task that enqueues itself does.
MOST_ATTEMPTS = 1000

_EVER = datetime.max.replace(tzinfo=UTC)


class CapturedTasks(Sequence[Enqueued]):
    """The calls enqueued so far inside a block of :func:`captured_tasks`, in order, without those that were rolled back."""

    def __init__(self) -> None:
        self._calls: list[tuple[Enqueued, Undone]] = []
        self._due: dict[uuid.UUID, datetime] = {}
        self._first_noted: dict[uuid.UUID, datetime] = {}
        self._expires: dict[uuid.UUID, datetime | None] = {}
        self._moment: datetime | None = None

    # --- what was enqueued ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._existing())

    @overload
    def __getitem__(self, index: int) -> Enqueued: ...
    @overload
    def __getitem__(self, index: slice) -> list[Enqueued]: ...
    def __getitem__(self, index: int | slice) -> Enqueued | list[Enqueued]:
        return self._existing()[index]

    def __repr__(self) -> str:
        return f"<CapturedTasks {self._existing()}>"

    def assert_enqueued(
        self,
        task: TaskLike,
        *,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        queue: str | None = None,
    ) -> Enqueued:
        """Return the first call of a task that was enqueued.

        :param task: the decorated function, of autotask or of Django's tasks framework, or the name of the task.
        :param args: its arguments by position; ``unittest.mock.ANY`` equals everything.
        :param kwargs: its arguments by name. Without both, any arguments match; with either or both, the call has to be
            the same as ``task(*args, **kwargs)``, however it was written.
        :param queue: the name of its queue; None: any.
        :raises AssertionError: there is none; the message shows the nearest call, and all that were enqueued.
        """
        expectation = Expectation.of(task, args, kwargs, queue)
        calls = self._existing()
        for call in calls:
            if expectation.is_met_by(call):
                return call
        raise AssertionError(expectation.missing(calls))

    def assert_not_enqueued(
        self,
        task: TaskLike,
        *,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        queue: str | None = None,
    ) -> None:
        """Assert that no such call was enqueued; the parameters are those of :meth:`assert_enqueued`.

        :raises AssertionError: there is one; the message shows all of them.
        """
        expectation = Expectation.of(task, args, kwargs, queue)
        found = [call for call in self._existing() if expectation.is_met_by(call)]
        if found:
            raise AssertionError(expectation.unwanted(found))

    # --- running it -------------------------------------------------------------------------------------------------

    def run_pending(
        self, until: datetime | timedelta | None = None, *, raise_errors: bool = False
    ) -> list[TaskHandle[Any]]:
        """Run the due tasks, and the due ones that these enqueue, in this thread.

        Registered on_commit functions run first, as if the transaction of the test were committed here. The clock of the
        test decides which tasks are due, even if the test has moved it. Paused tasks do not run.

        :param until: run tasks that are due until then, too (an aware datetime, or a timedelta from now), in order of
            time: tasks that run later enqueue later.
        :param raise_errors: if a task ends in ERROR, raise its exception instead of continuing.
        :returns: the handles of the tasks, in order, one for each attempt.
        :raises RunInTransaction: the test is inside an atomic block of its own.
        :raises EndlessTasks: a thousand attempts were run, and there is no end.
        """
        if transactions.is_inside_code(current()):
            raise RunInTransaction
        now = _now()
        last = now + until if isinstance(until, timedelta) else until or now
        with self._clock_at(now):
            transactions.run_on_commit()
            return self._run_until(last, raise_errors)

    def drain(self, *, raise_errors: bool = False) -> list[TaskHandle[Any]]:
        """Run all waiting tasks, whenever due, with all retries and all tasks they enqueue; see :meth:`run_pending`."""
        return self.run_pending(_EVER, raise_errors=raise_errors)

    async def arun_pending(
        self, until: datetime | timedelta | None = None, *, raise_errors: bool = False
    ) -> list[TaskHandle[Any]]:
        """Like :meth:`run_pending`, from a coroutine."""
        return await sync_to_async(self.run_pending)(until, raise_errors=raise_errors)

    async def adrain(self, *, raise_errors: bool = False) -> list[TaskHandle[Any]]:
        """Like :meth:`drain`, from a coroutine."""
        return await sync_to_async(self.drain)(raise_errors=raise_errors)

    # ----------------------------------------------------------------------------------------------------------------

    def note(self, definition: Definition[Any, Any], tasks: Sequence[NewTask], **_: Any) -> None:
        """Note tasks that were just stored: a receiver of ``tasks_stored``."""
        # While later tasks are run, the clock shows their time.
        now = self._moment or _now()
        for task in tasks:
            call = Enqueued.of(definition, task, now, since=self._first_noted.setdefault(task.id, now))
            self._calls.append((call, Undone()))
            self._due[task.id] = call.due
            self._expires[task.id] = call.expires

    def _existing(self) -> list[Enqueued]:
        # A later call with the same id has replaced the arguments of the earlier one.
        return list({call.handle.id: call for call, undone in self._calls if not undone.is_undone()}.values())

    def _run_until(self, last: datetime, raise_errors: bool) -> list[TaskHandle[Any]]:
        runner, ran, not_ours = Runner(), list[TaskHandle[Any]](), set[uuid.UUID]()
        with runner.signed_on():
            while batch := due_by(self._moment_now, waiting := self._waiting(not_ours)) or self._go_on(waiting, last):
                for task in batch:
                    if self._run(runner, task, raise_errors):
                        ran.append(TaskHandle(task.id, task.name))
                    else:
                        not_ours.add(task.id)
                    if len(ran) == MOST_ATTEMPTS:
                        names = ", ".join(sorted({handle.name for handle in ran[-50:]}))
                        raise EndlessTasks(count=MOST_ATTEMPTS, names=names)
        return ran

    def _go_on(self, waiting: Sequence[Waiting], last: datetime) -> list[Waiting]:
        """Move the clock on to the next due task; return the tasks that are due then."""
        moment = next_moment(waiting)
        if moment is None or moment > last:
            return []
        self._moment = moment
        return due_by(moment, waiting)

    def _run(self, runner: Runner, task: Waiting, raise_errors: bool) -> bool:
        if (ran := runner.run(task.id, self._late)) is None:
            return False
        if ran.again_after is not None:
            self._due[task.id] = self._moment_now + timedelta(seconds=ran.again_after)
        if raise_errors:
            ran.raise_error()
        return True

    def _late(self, task: ClaimedTask) -> float | None:
        if task.id not in self._expires:
            return task.late  # enqueued elsewhere: the clock of the database has to do
        expires = self._expires[task.id]
        return None if expires is None or expires > self._moment_now else (self._moment_now - expires).total_seconds()

    def _waiting(self, not_ours: set[uuid.UUID]) -> list[Waiting]:
        return [
            Waiting(id, name, priority, self._due.get(id) or due or self._moment_now)
            for id, name, priority, due in hasten.waiting(current())
            if id not in not_ours
        ]

    @property
    def _moment_now(self) -> datetime:
        return self._moment or _now()

    @contextlib.contextmanager
    def _clock_at(self, moment: datetime) -> Iterator[None]:
        before, self._moment = self._moment, moment
        try:
            yield
        finally:
            self._moment = before


@contextlib.contextmanager
def captured_tasks() -> Iterator[CapturedTasks]:
    """Note the tasks that any thread of this process enqueues inside the block.

    ::

        with captured_tasks() as tasks:
            client.post("/orders/", …)
        tasks.assert_enqueued(send_invoice, args=(order.pk,))
        tasks.run_pending()

    You can keep using the object after the block; it notes no further tasks.
    """
    tasks = CapturedTasks()
    tasks_stored.connect(tasks.note)
    try:
        yield tasks
    finally:
        tasks_stored.disconnect(tasks.note)


def _now() -> datetime:
    return datetime.now(UTC)
