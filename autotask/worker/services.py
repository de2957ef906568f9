"""The services of a worker, and the threads in which they run."""

import contextlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import logs, telemetry
from autotask.conf import settings
from autotask.store import model_rows, notify
from autotask.store.survey import Chore
from autotask.task import DEFAULT_QUEUE
from autotask.wakeup import Wakeup
from autotask.worker import relay
from autotask.worker.chores import Chores
from autotask.worker.heartbeat import Heartbeat
from autotask.worker.log_pruner import LogPruner
from autotask.worker.lost_attempts import LostAttempts
from autotask.worker.mender import Mender
from autotask.worker.notifier import Notifier
from autotask.worker.options import WorkerOptions
from autotask.worker.pauser import Pauser
from autotask.worker.pruner import Pruner
from autotask.worker.registration import Registration
from autotask.worker.relief import Relief
from autotask.worker.reporter import Reporter
from autotask.worker.rescuer import Rescuer
from autotask.worker.resting import Rest
from autotask.worker.scheduler import Scheduler
from autotask.worker.service import Service, ServiceThread
from autotask.worker.serving import Serving
from autotask.worker.statistics import Statistics
from autotask.worker.surveyor import Surveyor
from autotask.worker.sweeper import Sweeper
from autotask.worker.writes import Record

if TYPE_CHECKING:
    from autotask.worker.alerter import Alerter
    from autotask.worker.log_book import LogBook


#: The services that do rare chores. The loop does the others: it sees them when it wakes up.
_WHO = {
    Chore.ORPHANS: Rescuer,
    Chore.PAUSES: Pauser,
    Chore.NOTICES: Notifier,
    Chore.HELD: Sweeper,
    Chore.GATES: Sweeper,
    Chore.RESULTS: Pruner,
}


class Services:
    """The services of a worker, in two threads or three. The worker starts and stops them; any thread may hurry them.

    :param rest: whether this worker leaves it to others to listen.
    :param changed: called when the last look for work may be out of date.
    :param tell: called when other workers have died.
    :ivar chores: what a survey has found to do, for the loop and for services.
    :ivar log_book: keeps the log lines of tasks, if AUTOTASK_LOGS is set.
    :ivar beats: the thread of the heartbeat. No service that waits for the database may hold it up.
    :ivar relay: the thread that serves model tasks that remote workers run, if this site has any.
    :ivar others: the thread of all other services.
    """

    def __init__(
        self,
        options: WorkerOptions,
        registration: Registration,
        reporter: Reporter,
        serving: Serving,
        wakeup: Wakeup,
        heartbeat: Heartbeat,
        rest: Rest,
        changed: Callable[[], None],
        tell: Callable[[BaseDatabaseWrapper], None],
    ) -> None:
        wake, chores = wakeup.wake, Chores()
        self.chores = chores
        self._heartbeat = heartbeat
        self._statistics = Statistics() if settings.STATISTICS else None
        self.log_book = self._make_log_book()
        services: list[Service] = [
            Surveyor(registration, chores, self._hurry, self._note_clock),
            Relief(rest, wake),
            Rescuer(registration, chores, wake, options.predecessor, tell),
            Scheduler(wake),
            Pauser(serving.paused, chores, changed),
            reporter,
            *([self.log_book] if self.log_book else []),
            Pruner(chores),
            *([] if logs.folder() is None else [LogPruner()]),
            Sweeper(chores, wake),
            *([Mender()] if model_rows.tables else []),
            Notifier(chores, wakeup.call),
            *([self._statistics] if self._statistics else []),
            *([LostAttempts()] if telemetry.used is not None else []),
            *_alerters(options),
            *([serving.yielding] if options.yields else []),
        ]
        self.others = ServiceThread("services", *services)
        self.beats = ServiceThread("heartbeat", heartbeat, guest_of=self.others)
        self.relay: ServiceThread | None = None
        if model_rows.tables and relay.can_run():
            service = relay.Relay()
            self.relay = ServiceThread("relay", service, channel=lambda: notify.REMOTE_CHANNEL, told=service.told)

    @property
    def count(self) -> Callable[[Sequence[Record]], None] | None:
        """The counter of outcomes that the database has accepted; None: nobody counts them."""
        return self._statistics.count if self._statistics else None

    @property
    def keep_line(self) -> Callable[..., Any] | None:
        """The function that keeps a log line of a task; None: nobody keeps them."""
        return self.log_book.put if self.log_book else None

    def start(self) -> None:
        """Start the threads.

        :raises RuntimeError: the system has no threads left.
        """
        for thread in self._threads():
            thread.start()

    def stop(self, seconds: float) -> None:
        """End the threads, each within *seconds*."""
        for thread in self._threads():
            thread.stop(seconds)

    def beat_now(self) -> None:
        """Have the heartbeat look for requests to cancel tasks."""
        self._heartbeat.look_for_requests()
        self.beats.hurry(Heartbeat)

    def look_now(self) -> None:
        """Have the other services look: schedules or pauses have changed."""
        self.others.hurry_all()

    def tell_of_ends(self) -> None:
        """Have notices of ended tasks enqueued."""
        self.others.hurry(Notifier)

    def write_last_words(self, connection: Callable[[], BaseDatabaseWrapper]) -> None:
        """Write what services have kept in memory: counts and log lines.

        :param connection: returns the connection to use.
        """
        if self._statistics:
            self._statistics.close()
        if self.log_book:
            self.log_book.close()
        for service in (self._statistics, self.log_book):
            if service is not None:
                with contextlib.suppress(DatabaseError, InterfaceError):
                    service.run_once(connection())

    def _hurry(self, chores: Iterable[Chore]) -> None:
        for kind in {_WHO[chore] for chore in chores if chore in _WHO}:
            self.others.hurry(kind)

    def _note_clock(self, clock: float, at: float) -> None:
        if self._statistics:
            self._statistics.note_clock(clock, at)

    def _threads(self) -> list[ServiceThread]:
        return [thread for thread in (self.beats, self.relay, self.others) if thread is not None]

    def _make_log_book(self) -> "LogBook | None":
        if settings.LOGS is None:
            return None
        # Imported here: without the setting, nothing of it is needed.
        module = importlib.import_module("autotask.worker.log_book")
        return module.LogBook(settings.LOGS, lambda: self.others.hurry(module.LogBook))  # type: ignore[no-any-return]


def _alerters(options: WorkerOptions) -> "list[Alerter]":
    if not settings.ALERTS:
        return []
    module = importlib.import_module("autotask.worker.alerter")  # only where it is used
    others = options.queues or ("alerts",)  # Not those that this worker leaves to others.
    return [module.Alerter(DEFAULT_QUEUE if options.serves(DEFAULT_QUEUE) else others[0])]
