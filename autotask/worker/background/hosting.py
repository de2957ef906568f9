"""All that looks after the background workers of one worker, put together."""

import time
import uuid
from collections.abc import Callable, Sequence

from autotask.store import background
from autotask.task import ClaimedTask
from autotask.worker.background.care import Care
from autotask.worker.background.event_loops import EventLoops
from autotask.worker.background.instance import Parts
from autotask.worker.background.lending import Lending
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.service import ServiceThread
from autotask.worker.writes import Record

#: Seconds between two checks whether all instances are given up.
LOOK_EVERY = 0.01


class Hosting:
    """Belongs to a worker whose code has background workers.

    :param serves: returns whether a queue is served.
    :param count: called with the recorded outcomes of messages; None: nobody counts them.
    :ivar cancelled: the ids of messages that somebody has asked to cancel.
    """

    def __init__(
        self,
        registration: Registration,
        reporter: Reporter,
        serves: Callable[[str], bool],
        count: Callable[[Sequence[Record]], None] | None,
    ) -> None:
        self.cancelled: set[uuid.UUID] = set()
        self._lending, self._loops = Lending(), EventLoops()
        parts = Parts(
            registration,
            reporter,
            self._lending,
            self._loops,
            lambda task: task.id in self.cancelled,
            self.cancelled.difference_update,
            self.look,
            count,
        )
        self.care = Care(parts, serves)
        self.service = ServiceThread(
            *("caretaker", self.care), channel=lambda: background.channel(registration.id), told=self.care.told
        )

    def start(self) -> None:
        """Start to look after them.

        :raises RuntimeError: the system has no threads left.
        """
        self.service.start()

    def look(self) -> None:
        """Look at once. Any thread may call this."""
        self.service.hurry(Care)

    def message(self, name: str) -> None:
        """Wake the instance that handles messages, or have its host do so. Any thread may call this."""
        if not self.care.wake(name):
            self.look()

    def hand(self, name: str, task: ClaimedTask) -> bool:
        """Give a message to its instance; return False if it is not here, or about to end. Any thread may call this."""
        instance = self.care.instances.get(name)
        return instance is not None and not instance.here.control.asked and instance.handed.put(task)

    def doubt(self) -> None:
        """Have messages released of which no instance here knows. Any thread may call this."""
        self.care.doubt()
        self.look()

    def stop(self, seconds: float) -> None:
        """Wait until the instances that have ended are given up, and end the threads.

        :param seconds: to wait at most.
        """
        deadline = time.monotonic() + seconds
        self.look()
        while any(each.ended for each in list(self.care.instances.values())) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
        self.service.stop(max(0.1, deadline - time.monotonic()))
        self._loops.close()
        self._lending.close()
