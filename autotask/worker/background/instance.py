"""One background worker as this worker hosts it: a thread, how it runs the function, and how it is stopped."""

import asyncio
import concurrent.futures
import logging
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autotask.background.calls import Here
from autotask.background.workers import BackgroundWorker
from autotask.exceptions import TaskInterrupted, WorkerStopping
from autotask.store.background import Grant, News
from autotask.store.inbox import Address
from autotask.task import ClaimedTask
from autotask.texts import tracebacks
from autotask.worker import hygiene, surroundings
from autotask.worker.background.event_loops import EventLoops
from autotask.worker.background.lending import Lending
from autotask.worker.pools.threads import Place
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.writes import Record

logger = logging.getLogger("autotask.background")

#: Seconds between two looks whether the worker has its lease again.
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


class Instance:
    """Hosts a background worker.

    :param worker: the background worker.
    :param grant: the right to host it.
    :param here: how it runs here.
    :param loop: what to do until it is asked to stop.
    :ivar ended: whether its thread is through.
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
        self.place = Place()
        self.ended = False
        self.ran_at = time.monotonic()
        self._loop = loop
        self._future: concurrent.futures.Future[Any] | None = None
        self.interrupted = False
        here.run_coroutine = self._run_coroutine
        self._thread = threading.Thread(target=self._run, name=f"autotask-{worker.name}"[:60], daemon=True)

    def start(self) -> None:
        """Start the thread.

        :raises RuntimeError: the system has no threads left.
        """
        self.worker.hosted(self.here)
        self._thread.start()

    def ask(self) -> None:
        """Ask it to stop after its present run."""
        self.here.control.ask()

    def wake(self) -> None:
        """Tell it that messages wait."""
        self.here.control.wake()

    def interrupt(self) -> None:
        """Stop its present run: the grace of the worker is over."""
        self.interrupted = True
        if (future := self._future) is not None:
            future.cancel()
        if (item := self.place.item) is not None:
            self.place.strike(item, WorkerStopping("its worker has to stop"))

    def news(self) -> News | None:
        """Return what is to be written down about it; None: nothing new."""
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
            # The worker goes on under a new name: what the old one hosted and had claimed belongs to others by now.
            self.ask()
        return not self.here.control.asked

    def run_once(self) -> bool:
        """Run the function once without a message; return whether to go on."""
        around = surroundings.of_thread()
        around.tidy()
        self.place.item = item = object()
        try:
            around.run(self.place.call, self.worker.handle, self._thread.name)
        except TaskInterrupted:
            logger.info("The background worker %s was interrupted, because its worker has to stop", self.worker.name)
            self.ask()
        except BaseException as error:  # noqa: B036 - the function can raise anything, such as SystemExit
            tracebacks.cut(error)
            logger.exception("The background worker %s failed; it goes on", self.worker.name)
        finally:
            if self.place.item is item:
                self.place.item = None
            around.tidy(unsure=True)
        return self.goes_on()

    def goes_on(self) -> bool:
        """Note the end of a run; return whether there may be another."""
        self.ran_at = time.monotonic()
        if self.here.is_over:
            self.ask()
        return not self.here.control.asked

    # ----------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self.place.thread = threading.get_ident()
        try:
            self._loop(self)
        except BaseException:  # noqa: B036 - whatever it is, the instance must be given to others
            logger.exception("The loop of the background worker %s has failed", self.worker.name)
            self.here.control.sleep(AFTER_FAILURE)  # Another one would follow at once.
        finally:
            self.worker.hosted(None)
            hygiene.close_connections()
            self.ended = True
            self.parts.ended()

    def _run_coroutine(
        self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        future = self.parts.loops.get(self.here.options.loop).begin(function, args, kwargs)
        self._future = future
        if self.interrupted:
            future.cancel()
        try:
            return future.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            if self.interrupted:
                raise WorkerStopping("its worker has to stop") from None
            raise
        finally:
            self._future = None
