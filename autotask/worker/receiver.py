"""Tasks that the process which this worker serves stores as claimed by it, and hands over."""

import logging
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import handover
from autotask.conf import settings
from autotask.offer import OVERDUE, Offers
from autotask.task import ClaimedTask
from autotask.wakeup import Wakeup
from autotask.worker.claiming.claimer import Claimer
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.quarantine import Quarantine
from autotask.worker.held import HeldTasks
from autotask.worker.idle import IdleSleep
from autotask.worker.outcome import GiveBack
from autotask.worker.recorder import Recorder
from autotask.worker.registration import Registration
from autotask.worker.shutdown import Shutdown

logger = logging.getLogger("autotask.worker")


class Receiver:
    """What was offered, and when to look in the table for what was lost on the way here. Only the loop calls this.

    :param offers: the recorder may make some as well.
    :param serves_all: tells whether there is any task that this worker leaves to others.
    :ivar look_at: when to look for lost tasks again.
    """

    def __init__(
        self,
        offers: Offers,
        wakeup: Wakeup,
        shutdown: Shutdown,
        registration: Registration,
        held: HeldTasks,
        recorder: Recorder,
        idle: IdleSleep,
        claims: Claims,
        claimer: Claimer,
        quarantine: Quarantine,
        serves_all: Callable[[], bool],
    ) -> None:
        self.look_at = float("-inf")
        self.offers = offers
        self._wakeup = wakeup
        self._shutdown = shutdown
        self._registration = registration
        self._held = held
        self._recorder = recorder
        self._idle = idle
        self._claims = claims
        self._claimer = claimer
        self._quarantine = quarantine
        self._serves_all = serves_all
        self._every = float("inf")
        self._seen: BaseDatabaseWrapper | None = None

    def open(self) -> None:
        """Offer to be given the next task, if nothing speaks against any."""
        if self._serves_all() and self._claimer.may_claim() and not self._quarantine.is_on():
            self.offers.open(self._registration.id)
            if not self._held:
                self.offers.make()

    def accept(self) -> bool:
        """Take in what was handed over; return whether there was anything."""
        bodies, self._wakeup.handed = self._wakeup.handed, []
        for body in bodies:
            try:
                task, offer = handover.load(body)
            except ValueError as error:
                logger.warning("%s; the task will be found in the table", error)
                continue
            mine = offer.worker_id == self._registration.id and self.offers.accept(offer.number)
            if not (mine and not self._shutdown.is_requested() and self._claimer.accept(task)):
                self._give_back(task)
        return bool(bodies)

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Look for lost tasks on a new connection, and from time to time."""
        now = time.monotonic()
        if self._seen is not connection or now >= self.look_at or self.offers.is_overdue():
            self.reconcile(connection)
            self.look_at = now + min(self._every, settings.LEASE)
            self._every *= 2
            self._seen = connection

    def reconcile(self, connection: BaseDatabaseWrapper) -> None:
        """Give back what runs under the name of this worker without its knowing, since an answer was lost."""
        # In this order: what is handed over before is held, and what comes later than this is not run.
        self._wakeup.sleep(0)
        self.accept()
        if self.offers.void():
            self._every = OVERDUE  # Whoever has taken it may still be about to commit.
        self._recorder.try_again()
        # In this order: what is set aside is held until it is known to be.
        held = self._held.fences() + self._recorder.unrecorded()
        lost = self._claims.reconcile(connection, held)
        if lost:
            logger.warning("%d tasks given back that were claimed for this worker without its being told", len(lost))

    def _give_back(self, task: ClaimedTask) -> None:
        self._recorder.put((task, GiveBack(task)))
        self._idle.was_woken()
