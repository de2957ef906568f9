"""The backend of autotask, behaving as Django's tests expect of the backends that they were written for."""

import threading
from typing import Any

from django.db import connections

from autotask.backend import AutotaskBackend
from autotask.store.connection import current, execute, rows
from autotask.worker.options import WorkerOptions
from autotask.worker.worker import Worker


class WaitingBackend(AutotaskBackend):
    """In the place of the DummyBackend: what is enqueued can be looked at, and nothing runs it."""

    default_serializer = "json"

    @property
    def results(self) -> list[Any]:
        """What has been enqueued, as the database has it."""
        ids = rows(current(), "SELECT id FROM autotask_live UNION ALL SELECT id FROM autotask_result ORDER BY id")
        return [self.get_result(str(id)) for (id,) in ids]

    def clear(self) -> None:
        """Forget everything."""
        for table in ("autotask_task", "autotask_result", "autotask_attempt", "autotask_worker"):
            execute(current(), f"DELETE FROM {table}")


class RunningBackend(AutotaskBackend):
    """In the place of the ImmediateBackend: when a call returns, a real worker has run the task."""

    default_serializer = "json"

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Store the call, have a worker run all there is, and return what has become of it."""
        result = super().enqueue(task, args, kwargs)
        thread = threading.Thread(target=self._work)
        thread.start()
        thread.join(30)
        result.refresh()
        return result

    def _work(self) -> None:
        try:
            Worker(WorkerOptions(burst=True, threads=1)).run()
        finally:
            connections.close_all()
