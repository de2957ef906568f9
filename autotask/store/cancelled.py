"""Tell the log, receivers of the signal and the statistics that tasks were cancelled that no worker had."""

import functools
import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.signals import tell_cancelled
from autotask.statistics import Counts
from autotask.store import statistics
from autotask.store.connection import is_alone
from autotask.store.statistics import MINUTE, Key

logger = logging.getLogger("autotask")


class Cancelled(NamedTuple):
    """A task that was cancelled while it waited."""

    id: uuid.UUID
    name: str
    queue: str


def tell_after_commit(connection: BaseDatabaseWrapper, tasks: Iterable[Cancelled]) -> None:
    """Log tasks, send the signal for each, and count them, as soon as the caller's transaction has committed."""
    if tasks := list(tasks):
        for task in tasks:
            connection.on_commit(functools.partial(tell_cancelled, *task), robust=True)
        if settings.STATISTICS:
            connection.on_commit(functools.partial(_count, connection, tasks), robust=True)


def _count(connection: BaseDatabaseWrapper, tasks: Iterable[Cancelled]) -> None:
    # After the commit: all workers add to these rows, which a long transaction would lock.
    if not is_alone(connection):
        return  # There is a transaction that Django does not know about.
    minute = int(time.time()) // MINUTE * MINUTE
    found = Counter(Key(minute, task.name, task.queue) for task in tasks)
    try:
        statistics.add(connection, {key: Counts(cancelled=number) for key, number in found.items()})
    except Exception as error:  # They are cancelled, whatever the statistics say.
        logger.warning("Missing in the statistics: tasks that were cancelled while they waited: %s", error)
