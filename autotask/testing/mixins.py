"""The context managers as mixins for classes of unittest; they come before Django's TestCase."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest import TestCase

from autotask.handle import TaskHandle
from autotask.testing.captured import CapturedTasks, captured_tasks
from autotask.testing.enqueued import Enqueued
from autotask.testing.expectation import TaskLike
from autotask.testing.immediate import immediate
from autotask.testing.process import WorkerProcess, worker_process


class CapturedTasksMixin(TestCase):
    """Notes what each test enqueues, as :func:`autotask.testing.captured_tasks` does.

    :ivar tasks: the calls of the current test.
    """

    tasks: CapturedTasks

    def setUp(self) -> None:
        """Start to note tasks; overrides must call this."""
        super().setUp()
        self.tasks = self.enterContext(captured_tasks())

    def assert_enqueued(self, task: TaskLike, **expected: Any) -> Enqueued:
        """See :meth:`autotask.testing.CapturedTasks.assert_enqueued`."""
        return self.tasks.assert_enqueued(task, **expected)

    def assert_not_enqueued(self, task: TaskLike, **expected: Any) -> None:
        """See :meth:`autotask.testing.CapturedTasks.assert_not_enqueued`."""
        self.tasks.assert_not_enqueued(task, **expected)

    def run_pending(
        self, until: datetime | timedelta | None = None, *, raise_errors: bool = False
    ) -> list[TaskHandle[Any]]:
        """See :meth:`autotask.testing.CapturedTasks.run_pending`."""
        return self.tasks.run_pending(until, raise_errors=raise_errors)

    def drain(self, *, raise_errors: bool = False) -> list[TaskHandle[Any]]:
        """See :meth:`autotask.testing.CapturedTasks.drain`."""
        return self.tasks.drain(raise_errors=raise_errors)


class ImmediateTasksMixin(TestCase):
    """Runs tasks at the call, as :func:`autotask.testing.immediate` does.

    :cvar raise_task_errors: whether a call raises the exception of its task, if that ends in ERROR.
    """

    raise_task_errors = False

    def setUp(self) -> None:
        """Start to run tasks at once; overrides must call this."""
        super().setUp()
        self.enterContext(immediate(raise_errors=self.raise_task_errors))


class WorkerMixin(TestCase):
    """Has a real worker process run the tasks of each test, see :func:`autotask.testing.worker_process`.

    For ``TransactionTestCase`` and ``LiveServerTestCase``: no other process ever sees the tasks of a ``TestCase``.

    :cvar worker_queues: the queues it serves; empty means all.
    :ivar worker: the process.
    """

    worker_queues: Sequence[str] = ()
    worker: WorkerProcess

    def setUp(self) -> None:
        """Start the worker; overrides must call this."""
        super().setUp()
        self.worker = self.enterContext(worker_process(queues=self.worker_queues))
