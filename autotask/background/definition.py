"""The definition under which what is put into a queue, or triggers a run, is stored: like the calls of a task."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import handover
from autotask.background.options import BackgroundOptions, Kind
from autotask.conf import settings
from autotask.context import TaskContext
from autotask.definition import Definition
from autotask.options import Options
from autotask.own_worker import own
from autotask.store import background, enqueue, inbox, many
from autotask.store.connection import current, is_alone
from autotask.store.enqueue import NewTask
from autotask.task import BACKGROUND, ClaimedTask

if TYPE_CHECKING:
    from autotask.background.workers import BackgroundWorker

_PUT = inspect.Signature([inspect.Parameter("task", inspect.Parameter.POSITIONAL_OR_KEYWORD)])
_TRIGGER = inspect.Signature()


class BackgroundDefinition(Definition[Any, Any]):
    """The definition ``background:<name>`` of a background worker.

    Only the caretaker of the worker that hosts it claims these tasks.

    :ivar worker: the background worker.
    """

    def __init__(self, worker: "BackgroundWorker", options: BackgroundOptions) -> None:
        self.worker = worker
        stored = Options(executor=BACKGROUND, queue=options.queue, priority=options.priority)
        self._is_put = options.kind is Kind.QUEUE
        super().__init__(worker.function, background.PREFIX + worker.name, stored)
        # The background worker itself runs coroutines, on its loop.
        self.is_async = False

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The signature of ``put`` or ``trigger``."""
        return _PUT if self._is_put else _TRIGGER

    def for_attempt(self, task: ClaimedTask, context: TaskContext) -> Callable[..., Any]:
        """Return the function that handles one message."""
        return functools.partial(self.worker.handle, str(task.id))

    def _with(self, options: Options) -> "BackgroundDefinition":
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.pop("_stated", None)
        made.options = options
        return made

    def _insert(self, tasks: list[NewTask]) -> None:
        connection = current()
        if len(tasks) > 1:
            many.insert_many(connection, tasks)
        if len(tasks) > 1 or not self._insert_one(connection, tasks[0]):
            background.call(connection, self.worker.name, handover.call_for)
        self._announce(connection, tasks, tasks)

    def _insert_one(self, connection: BaseDatabaseWrapper, task: NewTask) -> bool:
        """Store a message, and return whether its host has been told of it."""
        if (fence := self._put(connection, task)) is None:
            if self._put_calling(connection, task):
                return True
            enqueue.insert(connection, task)
        return bool(fence)

    def _put(self, connection: BaseDatabaseWrapper, task: NewTask) -> int | None:
        """Hand a message to the companion of this process, if it offers that; see :func:`autotask.handover.store_claimed`."""
        if not (self._is_put and task.kind.is_plain_message and handover.fits(task)) or settings.IMMEDIATE:
            return None
        name = self.worker.name
        return handover.store_claimed(
            connection, lambda worker_id: handover.Stored(task, inbox.put(connection, task, name, worker_id))
        )

    def _put_calling(self, connection: BaseDatabaseWrapper, task: NewTask) -> bool:
        """Store a message and notify its host at once, if this process has no companion to do that; return whether it was."""
        if own.line is not None or settings.IMMEDIATE or not task.kind.is_plain_message or not is_alone(connection):
            return False

        def store(telling: bool) -> None:
            if telling:
                words = handover.words_for(task) if self._is_put and handover.fits(task) else None
                inbox.put_handing(connection, task, self.worker.name, words)
            else:
                enqueue.insert(connection, task)

        return background.store_and_call(connection, self.worker.name, store)
