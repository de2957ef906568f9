"""One background worker as this worker hosts it: a thread, how it runs the function, and how it is stopped."""

import asyncio
import concurrent.futures
import logging
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotask.background.calls import Here
from autotask.background.workers import BackgroundWorker
from autotask.exceptions import TaskInterrupted, WorkerStopping
from autotask.store.background_hosting import Grant, News
from autotask.store.inbox import Address
from autotask.task import ClaimedTask
from autotask.texts import tracebacks
from autotask.worker import hygiene, surroundings
from autotask.worker.background import elsewhere
from autotask.worker.background.call import Call
from autotask.worker.background.elsewhere import Elsewhere, ProcessLost
from autotask.worker.background.event_loops import EventLoops
from autotask.worker.background.handed import Handed
from autotask.worker.background.lending import Lending
from autotask.worker.pools.places import Place
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.writes import Record

logger = logging.getLogger("autotask.background")

#: Seconds between two checks whether the worker has its lease again.
LEASE_EVERY = 0.1

#: Seconds until an instance whose loop has failed is given up.
AFTER_FAILURE = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the worker that its instances use.

    :ivar is_cancelled: returns whether somebody has asked to cancel a message.
    :ivar forget: called with the ids of messages whose outcomes are recorded.
    :ivar ended: called from the thread of an instance that has ended.
    :ivar count: called with recorded outcomes; None: nobody counts them.
    """

    registration: Registration
    reporter: Reporter
    lending: Lending
    loops: EventLoops
    is_cancelled: Callable[[ClaimedTask], bool]
    forget: Callable[[Iterable[uuid.UUID]], None]
    ended: Callable[[], None]
    count: Callable[[Sequence[Record]], None] | None


class Lane:
    """One thread of an instance. A queue worker with ``concurrency=`` has several, any other one.

    :param elsewhere: where its runs are done; None: in the thread itself.
    :ivar place: where its current run can be interrupted.
    :ivar future: of the coroutine that it waits for.
    :ivar lost: how the process of its last run has died; "" if it has not.
    """

    def __init__(self, elsewhere: Elsewhere | None) -> None:
        self.place = Place()
        self.elsewhere = elsewhere
        self.future: concurrent.futures.Future[Any] | None = None
        self.lost = ""

    def interrupt(self) -> None:
        """Stop its current run."""
        if (future := self.future) is not None:
            future.cancel()
        if self.elsewhere is not None and self.elsewhere.interrupt():
            return
        if (item := self.place.item) is not None:
            self.place.strike(item, WorkerStopping("its worker has to stop"))


@dataclass(slots=True)
class InHand:
    """The messages that the threads of one instance have claimed.

    :ivar barrier: the number of the last claim when all had to be released: messages of claims up to it may be waiting again.
    :ivar lock: held while one of them claims: so the messages begin in their order.
    """

    ids: set[uuid.UUID] = field(default_factory=set)
    barrier: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Instance:
    """Hosts a background worker.

    :param worker: the background worker.
    :param grant: the right to host it.
    :param here: how it runs here.
    :param loop: what to do until it is asked to stop.
    :ivar ended: whether its threads are through.
    :ivar in_hand: what its threads have claimed.
    :ivar handed: what was handed to it.
    :ivar interrupted: whether the grace of the worker is over.
    :ivar ran_at: when its last run ended, on the monotonic clock.
    """

    def __init__(
        self,
        worker: BackgroundWorker,
        grant: Grant,
        here: Here,
        parts: Parts,
        loop: "Callable[[Instance], None]",
    ) -> None:
        self.worker = worker
        self.grant = grant
        self.here = here
        self.parts = parts
        self.address = Address(grant, parts.registration.id)
        self.ended = False
        self.in_hand = InHand()
        self.handed = Handed(self.wake)
        self.ran_at = time.monotonic()
        self._loop = loop
        self.interrupted = False
        here.run_coroutine = self._run_coroutine
        executor = here.options.executor
        if executor:
            here.run_elsewhere = self._run_elsewhere
        self.lanes = [Lane(elsewhere.make(executor)) for _ in range(here.options.concurrency)]
        self._running = 0
        self._counting = threading.Lock()
        self._mine = threading.local()

    @property
    def lane(self) -> Lane:
        """That of the calling thread."""
        lane: Lane = self._mine.lane
        return lane

    def start(self) -> None:
        """Start the threads: as many as the system has left.

        :raises RuntimeError: it has none.
        """
        self.worker.hosted(self.here)
        for number, lane in enumerate(self.lanes):
            name = f"autotask-{self.worker.name}"[:60]
            with self._counting:
                self._running += 1
            try:
                threading.Thread(target=self._run, args=(lane,), name=name, daemon=True).start()
            except RuntimeError as error:
                with self._counting:
                    self._running -= 1
                if not number:
                    raise
                logger.warning("%s has only %d of its threads: %s", self.worker.name, number, error)
                return

    def ask(self) -> None:
        """Ask it to stop after its current run."""
        self.here.control.ask()
        for lane in self.lanes:
            if lane.elsewhere is not None:
                lane.elsewhere.ask()

    def wake(self) -> None:
        """Tell it that messages wait."""
        self.here.control.wake()

    def interrupt(self) -> None:
        """Stop its current run: the grace of the worker is over."""
        self.interrupted = True
        for lane in self.lanes:
            lane.interrupt()

    def news(self) -> News | None:
        """Return the report to write down about it; None: there is nothing new."""
        if (taken := self.here.tally.take()) is None:
            return None
        runs, errors, error = taken
        grant, ago = self.grant, max(0.0, time.monotonic() - self.ran_at)
        return News(grant.name, grant.place, grant.fence, runs, errors, ago, error)

    # --- for its loop -----------------------------------------------------------------------------------------------

    def may_run(self) -> bool:
        """Wait until the worker certainly has its lease; return False if the instance is to stop."""
        while not self.parts.registration.is_fresh():
            if not self.here.control.sleep(LEASE_EVERY):
                return False
        if self.parts.registration.id != self.address.worker_id:
            # The worker continues under a new name: what the old one hosted and had claimed belongs to others by now.
            self.ask()
        return not self.here.control.asked

    def run_once(self) -> bool:
        """Run the function once without a message; return whether to continue."""
        around, place = surroundings.of_thread(), self.lane.place
        around.tidy()
        place.item = item = object()
        try:
            around.run(place.call, self.worker.handle, threading.current_thread().name)
        except TaskInterrupted:
            logger.info("The background worker %s was interrupted, because its worker has to stop", self.worker.name)
            self.ask()
        except BaseException as error:  # noqa: B036 - the function can raise anything, such as SystemExit
            tracebacks.cut(error)
            logger.exception("The background worker %s failed; it continues", self.worker.name)
        finally:
            if place.item is item:
                place.item = None
            around.tidy(unsure=True)
        return self.goes_on()

    def goes_on(self) -> bool:
        """Note the end of a run; return whether there may be another."""
        self.ran_at = time.monotonic()
        if self.here.is_over:
            self.ask()
        return not self.here.control.asked

    # ----------------------------------------------------------------------------------------------------------------

    def _run(self, lane: Lane) -> None:
        self._mine.lane = lane
        lane.place.thread = threading.get_ident()
        try:
            self._loop(self)
        except BaseException:  # noqa: B036 - whatever it is, the instance must be given to others
            logger.exception("The loop of the background worker %s has failed", self.worker.name)
            self.ask()
            self.here.control.sleep(AFTER_FAILURE)  # Another one would follow at once.
        finally:
            hygiene.close_connections()
            if lane.elsewhere is not None:
                lane.elsewhere.close()
            with self._counting:
                self._running -= 1
                is_last = not self._running
            if is_last:
                self.worker.hosted(None)
                self.ended = True
                self.parts.ended()

    def _run_coroutine(
        self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        future = self.parts.loops.get(self.here.options.loop).begin(function, args, kwargs)
        lane = self.lane
        lane.future = future
        if self.interrupted:
            future.cancel()
        try:
            return future.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            if self.interrupted:
                raise WorkerStopping("its worker has to stop") from None
            raise
        finally:
            lane.future = None

    def _run_elsewhere(self, message: tuple[Any, ...], id: str) -> Any:
        lane, grant, definition = self.lane, self.grant, self.worker.definition
        assert lane.elsewhere is not None
        if self.interrupted:
            raise WorkerStopping("its worker has to stop")
        module = definition.function.__module__
        work = Call(definition.name, module, grant.setup, grant.start_id, pickle.dumps(message), id)
        try:
            return lane.elsewhere.run(work).unpacked()
        except ProcessLost as lost:
            lane.lost = str(lost)
            raise
