"""The entry of a worker in the register."""

import logging
import time
import uuid
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import workers
from autotask.worker.identity import make_identity
from autotask.worker.options import WorkerOptions

logger = logging.getLogger("autotask.worker")

#: Share of the lease without a successful beat after which nothing new is started: others may soon rescue its tasks.
FRESH = 0.7


class Registration:
    """The name under which a worker is registered, and how long its lease can be trusted.

    The loop signs on and off, the heartbeat renews the lease and the name; every thread reads both.

    :param executors: the pools other than the threads.
    :ivar identity: the entry of this worker.
    :ivar has_new_name: whether the name has changed, and the loop has yet to release what waits under the former name.
    :ivar others: what the register said of other workers at the last beat.
    :ivar line: the mark of its line in the register, as the last beat has written it.
    :ivar stopping: whether the worker has begun to stop.
    :ivar fresh_until: until when its lease can be trusted, on the monotonic clock.
    """

    def __init__(self, options: WorkerOptions, executors: tuple[str, ...]) -> None:
        self._options = options
        self._executors = executors
        self.identity = self._new_identity()
        self.has_new_name = False
        self.others = workers.Register((), False)
        self.stopping = False
        self.line = ""
        self.fresh_until = self._lease_fresh_until = float("-inf")
        self._note_beat(time.monotonic())

    @property
    def id(self) -> uuid.UUID:
        """The current id of the worker."""
        return self.identity.id

    def is_fresh(self) -> bool:
        """Whether this worker certainly still has its lease."""
        return time.monotonic() < self.fresh_until

    def sign_on(self, connection: BaseDatabaseWrapper) -> None:
        """Enter the register."""
        now = time.monotonic()  # before the statement, as for a beat
        workers.sign_on(connection, self.identity, settings.LEASE)
        self._note_beat(now)

    def sign_off(self, connection: BaseDatabaseWrapper) -> None:
        """Leave the register."""
        workers.sign_off(connection, self.id)

    def beat(self, connection: BaseDatabaseWrapper, *, idle: bool, line: str = "") -> bool:
        """Renew the lease; return False if it was lost, and the worker continues under a new name.

        :param idle: whether it is enough to tell just this worker of a task.
        :param line: the mark of its line; "" if it cannot be handed tasks there now.
        """
        # Taken before the statement: the lease may have begun any moment after this one.
        now = time.monotonic()
        mine = self.identity
        others = workers.beat(
            *(connection, mine.id),
            lease=settings.LEASE,
            stopping=self.stopping,
            idle=idle,
            line=line,
            host=mine.host,
            boot_id=mine.boot_id,
        )
        if others is None:
            self._sign_on_again(connection)
        else:
            self.others, self.line = others, line
        self._note_beat(now)
        return others is not None

    def trust_new_name(self) -> None:
        """Note that all that waited under a former name is released. Only the loop calls this."""
        self.has_new_name = False
        self.fresh_until = self._lease_fresh_until

    def _note_beat(self, now: float) -> None:
        # The setting is read here, and not for each task.
        self._lease_fresh_until = now + FRESH * settings.LEASE
        if not self.has_new_name:
            self.fresh_until = self._lease_fresh_until

    def facts(self) -> dict[str, Any]:
        """Return the arguments of the signals of a worker."""
        identity = self.identity
        return {"worker_id": identity.id, "kind": identity.kind, "pid": identity.pid, "queues": identity.queues}

    def introduction(self) -> str:
        """Return the first log line of the worker."""
        identity, options = self.identity, self._options
        served = ", ".join(options.queues) or "all"
        without = f" except {', '.join(options.exclude_queues)}" if options.exclude_queues else ""
        whose = f" as the companion of Django process {identity.serves_pid}" if identity.serves_pid else ""
        return f"worker {identity.pid} started{whose} (queues: {served}{without}; threads: {options.threads})"

    def _sign_on_again(self, connection: BaseDatabaseWrapper) -> None:
        identity = self._new_identity()
        workers.sign_on(connection, identity, settings.LEASE)
        logger.warning(
            "The lease of this worker had run out (the process was paused, or the database was away); "
            "it continues as a new worker, and outcomes of tasks that were given to others will be refused"
        )
        # In this order: nothing that was claimed under the former name begins under the new one.
        self.has_new_name, self.fresh_until = True, float("-inf")
        self.identity = identity

    def _new_identity(self) -> workers.WorkerIdentity:
        return make_identity(
            kind=self._options.kind,
            serves_pid=self._options.serves_pid,
            # Excluded queues are registered too, with a sign that no name begins with.
            queues=(*self._options.queues, *(f"-{queue}" for queue in self._options.exclude_queues)),
            threads=self._options.threads,
            executors=self._executors,
        )
