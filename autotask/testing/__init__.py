"""Tools for tests of code that enqueues tasks, without a worker or with a real one."""

from autotask.testing.background import run_background
from autotask.testing.captured import CapturedTasks, captured_tasks
from autotask.testing.enqueued import Enqueued
from autotask.testing.immediate import immediate
from autotask.testing.mixins import CapturedTasksMixin, ImmediateTasksMixin, WorkerMixin
from autotask.testing.process import WorkerProcess, worker_process

__all__ = [
    "CapturedTasks",
    "CapturedTasksMixin",
    "Enqueued",
    "ImmediateTasksMixin",
    "WorkerMixin",
    "WorkerProcess",
    "captured_tasks",
    "immediate",
    "run_background",
    "worker_process",
]
