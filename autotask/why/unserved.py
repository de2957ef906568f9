"""Whether tasks wait that no worker takes: one line for lists, which cannot explain each task."""

from collections.abc import Iterable

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _

from autotask.conf import settings
from autotask.queues import serves
from autotask.store import claim, read
from autotask.store.read import LivingWorker
from autotask.task import BACKGROUND, REMOTE
from autotask.texts import advice


def look(connection: BaseDatabaseWrapper) -> str:
    """Return the problem, and the command that helps; "" if each queue with ready tasks has a worker."""
    waiting = {lane.queue for lane in claim.find_lanes(connection).lanes if lane.executor not in (BACKGROUND, REMOTE)}
    return in_words(waiting, read.workers(connection)) if waiting else ""


def look_at_workers(connection: BaseDatabaseWrapper) -> str:
    """Return the same also if nothing waits, for the list of workers."""
    if any(worker.alive and not worker.stopping for worker in read.workers(connection)):
        return look(connection)
    return _("No worker is alive.") + " " + _start()


def in_words(waiting: Iterable[str], workers: Iterable[LivingWorker]) -> str:
    """Return the same for the queues with ready tasks, and the registered workers."""
    alive = [worker for worker in workers if worker.alive and not worker.stopping]
    unserved = sorted(queue for queue in waiting if not any(serves(worker.queues, queue) for worker in alive))
    if not unserved:
        return ""
    if not alive:
        return _("Tasks wait, and no worker is alive.") + " " + _start()
    said = _("Tasks wait in queues that no running worker serves: %(queues)s. Start one:") % {
        "queues": ", ".join(unserved)
    }
    return said + " " + advice.serve(",".join(unserved))


def _start() -> str:
    return advice.start(companions=settings.COMPANION != "off")
