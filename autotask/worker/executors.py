"""The executors that the project names in AUTOTASK_EXECUTORS, as pools."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import Executor

from django.utils.module_loading import import_string

from autotask import django_setup
from autotask.conf import settings
from autotask.task import COROUTINE, PROCESS, ClaimedTask
from autotask.worker import remote
from autotask.worker.options import WorkerOptions
from autotask.worker.pools.base import Pool
from autotask.worker.pools.executors import ExecutorPool
from autotask.worker.pools.processes import Customer


def pools(customer: Customer[ClaimedTask], wake: Callable[[], None]) -> dict[str, Pool[ClaimedTask]]:
    """Return a pool for each name. The factory of an executor is imported when the first task needs it.

    :param wake: called when there is room again.
    """
    run = functools.partial(remote.run, os.environ.get("DJANGO_SETTINGS_MODULE", ""), django_setup.function())
    return {
        name: ExecutorPool(size, functools.partial(make, path), run, customer, wake)
        for name, (path, size) in settings.EXECUTORS.items()
    }


def names(options: WorkerOptions) -> tuple[str, ...]:
    """Return the names of the pools of a worker, other than its threads."""
    sizes = {COROUTINE: options.coroutines, PROCESS: options.processes}
    sizes.update((name, size) for name, (_, size) in settings.EXECUTORS.items())
    return tuple(name for name, size in sizes.items() if size)


def make(path: str) -> Executor:
    """Make an executor by the function at this path."""
    executor: Executor = import_string(path)()
    return executor
