"""Receive tasks that the Django process of this companion hands over: it stores them as already claimed."""

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import handover
from autotask.conf import settings
from autotask.offer import OVERDUE, Offer, Offers
from autotask.store import background
from autotask.store.survey import Chore
from autotask.task import ClaimedTask
from autotask.texts.render import count
from autotask.wakeup import Wakeup
from autotask.worker.caretaker import Caretaker
from autotask.worker.chores import Chores
from autotask.worker.claiming.claimer import Claimer
from autotask.worker.held import HeldTasks
from autotask.worker.outcome import Released
from autotask.worker.recorder import Recorder
from autotask.worker.registration import Registration
from autotask.worker.shutdown import Shutdown

logger = logging.getLogger("autotask.worker")

#: Seconds for which the loop leaves Python's lock and the processors to the threads that begin tasks, and record the ends of short
#: ones: it has less to do, and all need them at once. It ends sooner when there is something to read.
TO_BEGIN = 0.005

#: The most tasks that came by NOTIFY and are remembered.
MOST_TOLD = 10_000


@dataclass(eq=False, slots=True)
class Receiver:
    """The offers, and when to look in the table for tasks that were lost on the way here. Only the loop calls this.

    :param offers: the recorder may make some as well.
    :param serves_all: returns whether this worker leaves no task to others.
    :param caretaker: takes the messages for background workers, and the names of those for which something was put.
    :param chores: say whether there is any claim in the name of this worker.
    :ivar look_at: when to look for lost tasks again.
    :ivar every: seconds between the next look and the one after it.
    :ivar seen: the connection on which it has looked.
    :ivar told: the tasks that came by NOTIFY lately, or were released before that.
    """

    offers: Offers
    wakeup: Wakeup
    shutdown: Shutdown
    registration: Registration
    held: HeldTasks
    recorder: Recorder
    claimer: Claimer
    serves_all: Callable[[], bool]
    caretaker: Caretaker
    chores: Chores
    look_at: float = field(default=float("-inf"), init=False)
    every: float = field(default=float("inf"), init=False)
    seen: BaseDatabaseWrapper | None = field(default=None, init=False)
    told: set[uuid.UUID] = field(default_factory=set, init=False)

    def open(self) -> None:
        """Offer to take the next task, if this worker may run any task now."""
        if self.serves_all() and self.claimer.may_claim() and not self.claimer.quarantine.is_on():
            self.offers.open(self.registration.id)
            if not self.held:
                self.offers.make()

    def accept(self) -> bool:
        """Take tasks that were handed over, and calls for background workers; return whether there were any."""
        if not self.wakeup.handed:
            return False
        bodies, self.wakeup.handed = self.wakeup.handed, []
        try:
            self._accept(bodies)
            # While the worker stops, its connection may be closed.
            if not self.shutdown.is_requested() and not self.claimer.news.has_word():
                self.claimer.news.yield_lock(TO_BEGIN)
        finally:
            if self.claimer.threads.pool.outstanding():
                self.claimer.placement.watch.begin()
        return True

    def _accept(self, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            if (name := handover.called_for(body)) is not None:
                self.caretaker.message(name)
                continue
            if (back := handover.given_back(body)) is not None:
                self._take_back(back)
                continue
            try:
                if (told := handover.told(body, self.registration.id)) is not None:
                    self._accept_told(told)
                    continue
                task, offer = handover.load(body)
            except ValueError as error:
                logger.warning("%s; the task will be found in the table", error)
                continue
            mine = offer.worker_id == self.registration.id and self.offers.accept(offer.number)
            if not (mine and not self.shutdown.is_requested() and self._place(task)):
                self._release(task)

    def _accept_told(self, task: ClaimedTask) -> None:
        """Take a task or a message that a caller in another process has stored as claimed by this worker."""
        if task.id in self.told:
            return  # It was released by reconcile(), before the word came.
        self._note_told([task.id])
        has_room = True
        if background.of_message(task.name) is None:
            self.claimer.was_told_now()
            # Two callers may have chosen this worker at once: the second task must not wait here while another worker is idle.
            has_room = not self.held or self.claimer.threads.free() > 0
        if not has_room or task.worker_id is None or self.shutdown.is_requested() or not self._place(task):
            self._release(task)

    def _note_told(self, ids: Sequence[uuid.UUID]) -> None:
        if len(self.told) > MOST_TOLD:
            self.told.clear()  # A word comes within milliseconds.
        self.told.update(ids)

    def _place(self, task: ClaimedTask) -> bool:
        """Take a task or a message; return False if it cannot begin here now."""
        if (name := background.of_message(task.name)) is None:
            return self.claimer.accept(task)
        if not self.caretaker.hand(name, task):
            return False
        self._offer_again()
        return True

    def _take_back(self, offer: Offer) -> None:
        if offer.worker_id == self.registration.id and self.offers.accept(offer.number):
            self._offer_again()

    def _offer_again(self) -> None:
        """Make another offer at once: there is still room for a task."""
        if not self.held:
            self.offers.make()

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Look for lost tasks on a new connection, and when there may be any."""
        if self.seen is None:
            self.seen = connection  # A new worker: nobody has claimed anything in its name yet.
        now, is_new = time.monotonic(), self.seen is not connection
        is_due, is_coming = now >= self.look_at, self.offers.are_open()
        doubts = (is_due and self.every <= settings.LEASE) or Chore.CLAIMS in self.chores
        # What a survey has found may be a call that was committed just now, and comes.
        if is_new or self.offers.is_overdue() or (doubts and not is_coming):
            if is_new:
                self.caretaker.doubt()  # The word of a message may have been lost with the connection before.
            self.chores.done(Chore.CLAIMS)
            self.reconcile(connection)
            self.seen, is_due = connection, True
        elif is_due and is_coming:
            self.look_at, is_due = now + OVERDUE, False
        if is_due:
            # At the latest then, a sleeping loop sees whether a survey has found claims meanwhile.
            self.look_at = now + min(self.every, settings.LEASE)
            self.every *= 2
        if not self.expects_tasks():
            self.held.forget_requests()

    def expects_tasks(self) -> bool:
        """Whether tasks that this worker does not hold may be on their way to it. Any thread may call this."""
        return self.offers.are_open() or bool(self.wakeup.handed)

    def reconcile(self, connection: BaseDatabaseWrapper) -> None:
        """Release tasks that run under the name of this worker without its knowledge, because an answer was lost."""
        # In this order: tasks handed over before this are held, and those that come later are not run.
        self.wakeup.sleep(0)
        self.accept()
        if self.offers.void():
            self.every = OVERDUE  # The process that took it may still be about to commit.
        if self.every < float("inf"):
            self.caretaker.doubt()  # It may have been a message, and may come yet.
        self.recorder.try_again()
        if unknown := self.claimer.claims.unknown(connection, self._held()):
            # A call that was committed just now is seen before its word comes.
            self.claimer.news.hear_all()
            self.accept()
        # Even if there are none: this also deletes claims of which all tasks have ended.
        lost = self.claimer.claims.reconcile(connection, self._held(), unknown)
        self._note_told(lost)
        if lost:
            logger.warning("%s released, claimed for this worker without its knowledge", count(len(lost), "task"))

    def _held(self) -> list[int]:
        """Return the fences of the tasks of which this worker knows."""
        # In this order: a task is held until its outcome is known to be set aside.
        return self.held.fences() + self.recorder.unrecorded()

    def _release(self, task: ClaimedTask) -> None:
        self.recorder.put((task, Released(task)))
        self.claimer.idle.was_woken()
