"""One task as it travels to another process, and how it runs there."""

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from autotask import registry
from autotask.context import StopRequest
from autotask.exceptions import UnknownTask
from autotask.store.columns import TO_BE_CANCELLED
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.worker import execution, steps
from autotask.worker.outcome import Released
from autotask.worker.pools.base import Uninterrupted
from autotask.worker.reporter import Reports


class Work(Protocol):
    """The job that a child process is sent to run."""

    def run(self, reporter: Reports, stop: StopRequest) -> Any:
        """Run it in this process, and return how it ended. Never raises."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed task, and the module of its function."""

    task: ClaimedTask
    module: str

    def run(self, reporter: Reports, stop: StopRequest) -> Outcome | Released:
        """Run it in this process. Never raises."""
        try:
            registry.get(self.task.name)
        except UnknownTask:
            if self.module:
                # If that fails or does not help, the task stays unknown, and is treated as such.
                import_there(self.module)
        try:
            return execution.execute(self.task, lambda _: stop.reason == TO_BE_CANCELLED, reporter, Uninterrupted(stop))
        except BaseException as error:  # noqa: B036 - an exception can be too strange to be described
            execution.logger.exception("The worker itself failed at %s %s", self.task.name, self.task.id)
            return steps.broken(self.task, error)


def make(task: ClaimedTask) -> Job:
    """Return the job of a task."""
    try:
        return Job(task, registry.get(task.name).function.__module__)
    except UnknownTask:
        return Job(task, "")


def import_there(module: str) -> None:
    """Import the module of a function; a failure is logged."""
    try:
        importlib.import_module(module)
    except Exception:
        execution.logger.exception("The module %s of a task cannot be imported here", module)
