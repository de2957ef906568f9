"""The loop: claim tasks, promote those that are due, sleep until woken."""

import logging
import time
import uuid
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.offer import OVERDUE
from autotask.store import promote, tables
from autotask.store.isolation import Refusals
from autotask.texts import advice
from autotask.wakeup import Wakeup
from autotask.worker.claiming.claimer import Claimer, Prospect
from autotask.worker.claiming.prefetch import BUSY_SLEEP
from autotask.worker.claiming.quarantine import DRAIN_FOR
from autotask.worker.followers import PATIENCE
from autotask.worker.held import HeldTasks
from autotask.worker.idle import FIRST_SLEEP
from autotask.worker.news import News
from autotask.worker.options import WorkerOptions
from autotask.worker.outage import Outage
from autotask.worker.pools.sharing import STANDSTILL
from autotask.worker.receiver import Receiver
from autotask.worker.registration import Registration
from autotask.worker.shutdown import Shutdown

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks for due tasks, while there is other work.
PROMOTE_EVERY = 0.2

#: Consecutive turns that may fail for another reason than the database; then the worker is replaced.
MOST_FAILED_TURNS = 20

#: Seconds of a sleep in which nothing came, after which a worker may leave it to others to listen.
LONG_SLEEP = 2.0

#: Seconds between two looks for the tables before ``migrate`` has created them.
TABLES_EVERY = 2.0


@dataclass(eq=False, slots=True)
class Loop:
    """When something becomes due, and how many turns in a row have failed. Only the worker's main thread calls this."""

    options: WorkerOptions
    wakeup: Wakeup
    shutdown: Shutdown
    registration: Registration
    held: HeldTasks
    news: News
    claimer: Claimer
    receiver: Receiver
    outage: Outage = field(default_factory=lambda: Outage("claim tasks"), init=False)
    promote_at: float = field(default=float("-inf"), init=False)
    never_ready: Refusals[uuid.UUID] = field(default_factory=promote.refusals, init=False)
    failed_turns: int = field(default=0, init=False)

    def sign_on(self) -> bool:
        """Register this worker once the tables exist; return False if it has to stop before that."""
        said = False
        while not self.shutdown.is_requested():
            try:
                if tables.are_there(self.news.connection.wrapper):
                    self.registration.sign_on(self.news.connection.wrapper)
                    self.outage.succeeded()
                    return True
            except (DatabaseError, InterfaceError) as error:
                self._wait_after(error)
                continue
            if not said:
                logger.info("Waiting for the tables of autotask: %s", advice.migrate(settings.DATABASE))
                said = True
            self.wakeup.sleep(TABLES_EVERY)
        return False

    def run(self) -> None:
        """Work until the worker has to stop."""
        while not self.shutdown.is_requested():
            self.turn()
            self._look_at_wear()

    def turn(self) -> None:
        """Claim once, and sleep if there was nothing to claim."""
        try:
            connection = self.news.connection.wrapper
            self.receiver.accept()
            self._prepare(connection)
            self.claimer.threads.pool.balance()
            if self.claimer.is_stuck(time.monotonic()):
                self.claimer.placement.release_waiting()
            began = time.monotonic()
            look = self.claimer.take(connection)
            due = None
            left = self.promote_at - time.monotonic()
            if left <= 0 or look not in (Prospect.MORE, Prospect.TURN, Prospect.NO_ROOM):
                due = self._until_due(connection, began)
            elif look is Prospect.NO_ROOM:
                due = left
            self.outage.succeeded()
            if look is not Prospect.MORE and due != 0:
                self._pause(look, due)
            self.failed_turns = 0
        except (DatabaseError, InterfaceError, OSError) as error:  # OSError: the socket of a lost connection
            self._wait_after(error)
        except Exception as error:
            self.failed_turns += 1
            if self.failed_turns > MOST_FAILED_TURNS:
                raise
            self._wait_after(error)

    def promote(self, connection: BaseDatabaseWrapper) -> float | None:
        """Make due tasks ready; return the seconds until the next one is due, 0 if any has become ready now."""
        self.promote_at = time.monotonic() + PROMOTE_EVERY
        count, seconds = promote.promote(connection, refused=self.never_ready)
        return 0.0 if count else seconds

    def _until_due(self, connection: BaseDatabaseWrapper, began: float) -> float | None:
        """Do what :meth:`promote` does, without a statement if the look of this turn, which began then, says that nothing is due."""
        looks, now = self.claimer.looks, time.monotonic()
        if looks.began < began or looks.due_at <= now:
            return self.promote(connection)
        self.promote_at = now + PROMOTE_EVERY
        return None if looks.due_at == float("inf") else looks.due_at - now

    def sleep(self, seconds: float) -> bool:
        """Sleep, shorter if tasks wait for a thread; return whether the loop was woken."""
        if self.shutdown.is_requested():
            return True
        if self.claimer.some_wait():
            seconds = min(seconds, BUSY_SLEEP)
        if self.claimer.threads.pool.holds_back():
            seconds = min(seconds, STANDSTILL)
        if self.claimer.followers:
            seconds = min(seconds, PATIENCE)
        return self.news.sleep(seconds)

    def _wait_after(self, error: Exception) -> None:
        """Wait a moment after a failure; the next turn releases tasks claimed in that turn and not held."""
        self.news.lose()
        self.wakeup.sleep(self.outage.failed(error))

    def _prepare(self, connection: BaseDatabaseWrapper) -> None:
        if self.registration.has_new_name:
            # Tasks claimed under the old name may run elsewhere by now.
            self.claimer.followers.lose_all()
            self.claimer.placement.release_waiting()
            self.registration.trust_new_name()
        # In this order: of tasks that were stored for this worker before it listens, no word comes.
        self.news.listen()
        self.receiver.prepare(connection)

    def _look_at_wear(self) -> None:
        """Stop, to be replaced, when this worker has run enough tasks or uses too much memory."""
        recycling, pid = self.claimer.placement.recycling, self.registration.identity.pid
        if recycling.is_used_up() and not self.claimer.some_wait():
            logger.info("worker %d has taken its %d tasks, and is recycled", pid, self.options.max_tasks)
            self.shutdown.recycle()
        elif excess := recycling.excess():
            logger.info("worker %d uses much memory, %s, and is recycled", pid, excess)
            self.shutdown.recycle()

    # --- sleeping ---------------------------------------------------------------------------------------------------

    def _pause(self, look: Prospect, due: float | None) -> None:
        if look is Prospect.NO_ROOM:
            self._sleep_until_room(due)
        elif look is Prospect.TURN:
            # Whatever word has come, it says no more than that there is work, unless it brings a task.
            if not self.wakeup.handed:
                self.wakeup.sleep(self.claimer.idle.while_locked())
        elif look is Prospect.LOCKED:
            self.sleep(self.claimer.idle.while_locked())
        elif self.options.burst and not self.held and not self.news.has_word():
            # In this order: a task that has ended may have let others become ready, which was said before.
            self.shutdown.stop()
        else:
            self._sleep_until(due)

    def _sleep_until(self, due: float | None) -> None:
        """Sleep until woken, until the next task is due, or until it is time to poll."""
        seconds = self.claimer.idle.seconds
        if self._sleep_and_accept(seconds if due is None else min(seconds, due)):
            self.claimer.idle.was_woken()
        else:
            self.claimer.hopeful = False
            if self.claimer.idle.seconds >= min(LONG_SLEEP, settings.POLL_INTERVAL):
                self.news.rest()
            self.claimer.idle.slept_through(settings.POLL_INTERVAL)

    def _sleep_and_accept(self, seconds: float) -> bool:
        """Sleep, and accept tasks handed over meanwhile; return whether the loop was woken for anything else."""
        until = min(time.monotonic() + seconds, self.receiver.look_at)
        offers = self.receiver.offers
        self.receiver.open()
        try:
            while (left := until - time.monotonic()) > 0:
                # Nothing wakes this worker when its offer is taken.
                woken = self.sleep(min(left, OVERDUE) if offers.are_open() else left)
                accepted = self.receiver.accept()
                if (woken and not accepted) or self.news.has_word() or self.shutdown.is_requested():
                    return True
                # A task that is handed over is no reason to look for others: of those, word comes.
                if accepted and not self.claimer.placement.recycling.is_used_up():
                    continue
                if self._is_needed():
                    break
                if offers.is_overdue():
                    return True
            return False
        finally:
            offers.close()

    def _is_needed(self) -> bool:
        """Whether the pool needs the loop, or followers may wait for nothing."""
        claimer = self.claimer
        return claimer.some_wait() or claimer.threads.pool.holds_back() or bool(claimer.followers)

    def _sleep_until_room(self, due: float | None) -> None:
        self.claimer.ask_for_wake()
        is_quiet = not self.claimer.quarantine.is_on()
        # A task that finished before wake_when() was called does not wake the loop.
        if is_quiet and self.claimer.room():
            return
        longest = BUSY_SLEEP if is_quiet else DRAIN_FOR / 10
        if self.claimer.told:
            longest = FIRST_SLEEP  # It has to pass on what comes until then.
        self.sleep(longest if due is None else min(longest, max(due, PROMOTE_EVERY)))
        if self.news.was_called() and not (self.claimer.room() and is_quiet):
            # A caller has woken this worker, which has no room, or lets a suspect run alone; others may have some.
            self.news.pass_on_call()
        elif self.news.was_told_of_one and not (self.claimer.room() and is_quiet):
            self.news.pass_on_one()
