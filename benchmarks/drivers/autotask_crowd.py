"""What one call costs the server beside idle workers: connections that listen, rest and claim as workers do, without their processes."""

import os
import select
import threading
import time
import uuid
from typing import Any

from autotask.processes.lookouts import POSTS
from autotask.store import addressee, claim, workers
from autotask.store.claim import BoundedLane
from autotask.store.connection import dedicated
from autotask.store.listening import Listening
from autotask.worker.identity import make_identity
from benchmarks.drivers.base import Driver
from benchmarks.sql import Connection

#: Seconds between two calls.
_PAUSE = 0.1

#: Seconds of a lease that is never renewed.
_LEASE = 3600.0


class _Idle:
    """The connection of an idle worker.

    :param listens: whether it listens, or rests.
    :param says_so: whether it says that it is idle.
    """

    def __init__(self, *, listens: bool, says_so: bool) -> None:
        self._connection = dedicated("claim")
        identity = make_identity(kind="worker", serves_pid=None, queues=(), threads=4)
        self._id = identity.id
        workers.sign_on(self._connection.wrapper, identity, _LEASE)
        workers.beat(self._connection.wrapper, self._id, lease=_LEASE, idle=listens and says_so)
        self._listening = Listening(self._connection, self._channels)
        if listens:
            self._listening.renew()

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""
        return self._listening.fileno() or -1

    def look(self) -> int:
        """Look for work as a worker that was woken, and claim it; return how many tasks."""
        if not self._listening.heard():
            return 0
        connection = self._connection.wrapper
        lanes = [BoundedLane(lane, None) for lane in claim.find_lanes(connection).lanes]
        return len(claim.claim(connection, self._id, lanes, per_lane=4, limit=4)) if lanes else 0

    def _channels(self) -> tuple[str, ...]:
        return addressee.WORK_CHANNEL, addressee.idle_channel(uuid.UUID(str(self._id)))


def crowd(driver: Driver) -> dict[str, Any]:
    """Measure the CPU of the server for a call beside ``order.workers`` idle workers.

    They listen and rest as on one host. With the configuration "each", each of them listens, as on hosts with few workers. With "all",
    they also do not say that they are idle, so each call notifies all of them.
    """
    driver.connect()
    idle = [
        _Idle(listens=number < POSTS or driver.config in ("each", "all"), says_so=driver.config != "all")
        for number in range(driver.order.workers)
    ]
    listening = [each for each in idle if each.fileno() >= 0]
    claimed, stopping = [0], threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            ready, _, _ = select.select(listening, [], [], 0.05)
            claimed[0] += sum(each.look() for each in ready)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for number in range(5):
            driver.enqueue(number)
            time.sleep(_PAUSE)
        before, had = _server_seconds(driver.sql), claimed[0]
        for number in range(driver.order.samples):
            driver.enqueue(number)
            time.sleep(_PAUSE)
        time.sleep(_PAUSE)
        cpu = _server_seconds(driver.sql) - before
    finally:
        stopping.set()
        thread.join()
    return {"server_ms": 1000 * cpu / driver.order.samples, "claimed": claimed[0] - had}


def _server_seconds(connection: Connection) -> float:
    """Return the CPU time of all server processes of this database, as the scheduler counts it."""
    found = connection.rows(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return sum(_scheduled(pid) for (pid,) in found)


def _scheduled(pid: int) -> float:
    if not os.path.exists(path := f"/proc/{pid}/schedstat"):
        return 0.0
    with open(path) as file:
        return int(file.read().split()[0]) / 1e9
