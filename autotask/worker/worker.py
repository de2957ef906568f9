"""One worker: its parts, how they are connected, and how it starts and stops."""

import contextlib
import functools
import importlib
import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from autotask import logs, payload, telemetry
from autotask.conf import settings
from autotask.offer import Offers
from autotask.signals import worker_started, worker_stopping
from autotask.store import model_rows, notify
from autotask.task import COROUTINE, DEFAULT_QUEUE, PROCESS, THREAD, ClaimedTask
from autotask.wakeup import Wakeup
from autotask.worker import executors, hygiene, log_capture, relay, surroundings, sync_threads
from autotask.worker.caretaker import Caretaker
from autotask.worker.claiming.claimer import Claimer
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.intake import ExecutorIntake, Intake, ThreadIntake
from autotask.worker.claiming.placement import Placement
from autotask.worker.drain import Abandoner, Drain
from autotask.worker.followers import Followers
from autotask.worker.gates import Gates
from autotask.worker.heartbeat import Heartbeat
from autotask.worker.held import HeldTasks
from autotask.worker.log_pruner import LogPruner
from autotask.worker.loop import Loop
from autotask.worker.lost_attempts import LostAttempts
from autotask.worker.mender import Mender
from autotask.worker.news import News
from autotask.worker.notifier import Notifier
from autotask.worker.options import WorkerOptions
from autotask.worker.paused import Paused
from autotask.worker.pauser import Pauser
from autotask.worker.pools.base import Pool, Run
from autotask.worker.pools.coroutines import CoroutinePool
from autotask.worker.pools.processes import ProcessPool
from autotask.worker.pools.threads import ThreadPool
from autotask.worker.pruner import Pruner
from autotask.worker.receiver import Receiver
from autotask.worker.recorder import Recorder
from autotask.worker.recycling import Recycling
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.rescuer import Rescuer
from autotask.worker.runner import Runner
from autotask.worker.scheduler import Scheduler
from autotask.worker.service import ServiceThread
from autotask.worker.shutdown import Shutdown
from autotask.worker.stall import StallWatch
from autotask.worker.statistics import Statistics
from autotask.worker.sweeper import Sweeper
from autotask.worker.unknown_tasks import UnknownTasks
from autotask.worker.watch import Watch
from autotask.worker.yielding import Yielding

if TYPE_CHECKING:
    from autotask.worker.alerter import Alerter
    from autotask.worker.log_book import LogBook

logger = logging.getLogger("autotask.worker")

#: Seconds to write the last outcomes.
LAST_WORDS = 0.5

#: Seconds within which telemetry has to be sent when the worker has nothing else to do any more.
TO_FLUSH = 2.0


class Worker:
    """A process that claims and runs tasks. :meth:`run` returns after :meth:`stop`.

    It keeps its parts, each of which keeps one kind of state, and passes messages between them.

    :param show: called with the running tasks a few times a second, and once when no task runs any more.
    """

    def __init__(
        self, options: WorkerOptions, show: Callable[[Sequence[Run[ClaimedTask]]], None] | None = None
    ) -> None:
        self.options = options
        self.wakeup = Wakeup(options.wake_fd)
        self.shutdown = Shutdown(self.wakeup.wake)
        self.held = HeldTasks()
        self.unknown_tasks = UnknownTasks()
        self.paused = Paused()
        self.reporter = Reporter(self.held.has)
        self.registration = Registration(options, executors.names(options))
        self.gates = Gates(self.wakeup.call)
        followers = Followers(lambda *task: self._threads.follow(*task), self.wakeup.wake, options.threads)
        self._statistics = Statistics() if settings.STATISTICS else None
        count = self._statistics.count if self._statistics else None
        self.recorder = Recorder(
            self._let_go,
            self.reporter,
            self.unknown_tasks,
            self.gates,
            followers,
            count,
            self.held.unfinished,
        )
        self.yielding = Yielding(self._look_before_claiming)
        self._news = News(
            self.wakeup,
            lambda: self.registration.id,
            lambda: self._services[0].hurry(Heartbeat),
            lambda: self._services[-1].hurry_all(),
        )
        self._log_book = self._make_log_book()
        keep_line = self._log_book.put if self._log_book else None
        runner = Runner(self.registration, self.held, self.reporter, self.recorder, self._is_last_coroutine, keep_line)
        # A thread without tasks keeps no connections, whatever their CONN_MAX_AGE is: a database has few of them.
        self._threads: ThreadPool[ClaimedTask] = ThreadPool(
            options.threads,
            runner.run,
            self.wakeup.wake,
            end=hygiene.close_connections,
            begin=surroundings.read_settings,
        )
        self.pools: dict[str, Pool[ClaimedTask]] = {THREAD: self._threads, **self._other_pools(runner)}
        abandoner = Abandoner(self.held, self.recorder, self.shutdown)
        pools = self.pools.values()
        self.watch = Watch(list(pools), self.held.is_cancelled, abandoner.give_up, show)
        self.stalls = StallWatch(self.wakeup, self._stop_tasks, lambda: self.exit_status)
        recycling = Recycling(options.max_tasks, options.max_memory)
        self._placement = Placement(pools, self.held, self.recorder, runner, self.watch, recycling)
        self.claimer = self._make_claimer(self._threads, self._placement)
        parts = self.wakeup, self.shutdown, self.registration, self.held
        self._receiver = Receiver(
            *(Offers(options.offer_fds), *parts, self.recorder, self.claimer, self._serves_all),
            lambda name: self.caretaker.message(name),
        )
        self._loop = Loop(options, *parts, self._news, self.claimer, self._receiver)
        self._drain = Drain(pools, self.watch, abandoner, self.shutdown, self.wakeup, self._news, self._receiver)
        self.caretaker = Caretaker(self.registration, self.reporter, options.serves, count)
        self._services = self._make_services()

    @property
    def id(self) -> uuid.UUID:
        """The current id of the worker."""
        return self.registration.id

    @property
    def exit_status(self) -> int:
        """The exit status of the process."""
        return self.shutdown.exit_status

    # --- its parts --------------------------------------------------------------------------------------------------

    def _other_pools(self, runner: Runner) -> dict[str, Pool[ClaimedTask]]:
        options, wake = self.options, self.wakeup.wake
        return {
            COROUTINE: CoroutinePool(options.coroutines, runner.run_coroutine, wake, sync_threads.helpers),
            PROCESS: ProcessPool(options.processes, "autotask.worker.child", runner, wake),
            **executors.pools(runner, wake),
        }

    def _make_claimer(self, pool: ThreadPool[ClaimedTask], placement: Placement) -> Claimer:
        claims, burden = Claims(self.registration, self.unknown_tasks, self.paused), self.recorder.burden
        threads = ThreadIntake(pool, self._serving(THREAD), claims, burden.most_ahead)
        others = {name: each for name, each in self.pools.items() if name != THREAD}
        intakes: dict[str, Intake] = {
            name: Intake(name, each, self._serving(name), claims)
            if name in (COROUTINE, PROCESS)
            else ExecutorIntake(name, each, self._serving(name), claims, burden.most_ahead)
            for name, each in others.items()
        }
        return Claimer(
            self.registration,
            self.held,
            burden,
            self._news,
            claims,
            self.gates,
            placement,
            threads,
            intakes,
            self._serves,
        )

    def _make_services(self) -> tuple[ServiceThread, ...]:
        wake = self.wakeup.wake
        others = ServiceThread(
            "services",
            Rescuer(lambda: self.registration.identity, wake, self.options.predecessor, self.caretaker.tell),
            Scheduler(wake),
            Pauser(self.paused, self._look_before_claiming),
            self.reporter,
            *([self._log_book] if self._log_book else []),
            Pruner(),
            *([] if logs.folder() is None else [LogPruner()]),
            Sweeper(wake),
            *([Mender()] if model_rows.tables else []),
            Notifier(self.wakeup.call),
            *([self._statistics] if self._statistics else []),
            *([LostAttempts()] if telemetry.used is not None else []),
            *self._alerters(),
            *([self.yielding] if self.options.yields else []),
        )
        # In a thread of its own: no service that waits for the database may hold it up.
        heartbeat = Heartbeat(self.registration, self.held, self._cancel, self._renamed, self._is_idle)
        beats = ServiceThread("heartbeat", heartbeat, guest_of=others)
        if model_rows.tables and relay.can_run():
            return beats, ServiceThread("relay", relay.Relay(), channel=lambda: notify.REMOTE_CHANNEL), others
        return beats, others

    def _make_log_book(self) -> "LogBook | None":
        if settings.LOGS is None:
            return None
        # Imported here: without the setting, nothing of it is needed.
        module = importlib.import_module("autotask.worker.log_book")
        return module.LogBook(settings.LOGS, lambda: self._services[-1].hurry(module.LogBook))  # type: ignore[no-any-return]

    def _alerters(self) -> "list[Alerter]":
        if not settings.ALERTS:
            return []
        module = importlib.import_module("autotask.worker.alerter")  # only where it is used
        others = self.options.queues or ("alerts",)  # Not those that this worker leaves to others.
        return [module.Alerter(DEFAULT_QUEUE if self.options.serves(DEFAULT_QUEUE) else others[0])]

    def _serving(self, executor: str) -> Callable[[str], bool]:
        return functools.partial(self._serves, executor)

    def _serves(self, executor: str, queue: str) -> bool:
        served = self.options.serves(queue) and not self.yielding.leaves(executor, queue)
        return served and not self.paused.bars(queue)

    def _serves_all(self) -> bool:
        return self.options.serves_all() and self.yielding.leaves_nothing() and not self.paused

    def _is_idle(self) -> bool:
        """Whether it is enough to tell this worker of a task: it would take it at once, and nothing else keeps it busy."""
        if self.held or self.registration.stopping or self.unknown_tasks.were_met_lately():
            return False
        return self._news.hears and self.yielding.leaves_nothing()

    # --- start and stop ---------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Work until a request to stop.

        :returns: whether all tasks have finished; False if some are left in their threads.
        """
        log_capture.start(self._log_book)
        if not self._start(self.stalls):
            return False
        if not self._loop.sign_on():
            self.stalls.stop()
            return True
        if not self._start(self.recorder, *self._services, self.watch):
            self._sign_off()
            self._news.connection.close()
            self.stalls.stop()
            return False
        notify.set_waker(self.wakeup.call)
        logger.info("%s", self.registration.introduction())
        worker_started.send_robust(sender=Worker, **self.registration.facts())
        if not self.options.burst:
            self.caretaker.start()
        try:
            self._loop.run()
        except BaseException:  # noqa: B036 - whatever it is, the tasks it holds must not be lost with this worker
            logger.exception(
                "The loop of worker %d has failed; the worker stops, to be replaced by another one", self._pid
            )
            self.shutdown.recycle()
        return self._leave()

    def stop(self) -> None:
        """Ask the worker to finish its running tasks and stop. May be called from a signal handler."""
        self.shutdown.stop()

    def renew(self) -> None:
        """Stop, with the status that asks for a successor: the code has changed. Any thread may call this."""
        if self.shutdown.renew():
            logger.info("The code has changed; worker %d stops, to be replaced by one that has the new code", self._pid)

    @property
    def _pid(self) -> int:
        return self.registration.identity.pid

    def _start(self, *parts: StallWatch | Recorder | ServiceThread | Watch) -> bool:
        """Start the threads of parts of this worker; return False if the system has no threads left."""
        try:
            for part in parts:
                part.start()
        except RuntimeError as error:  # no memory, or no more threads
            logger.error("Worker %d cannot start, since there are no threads left: %s", self._pid, error)
            self.shutdown.fail()
            return False
        return True

    def _leave(self) -> bool:
        """Release the waiting tasks, wait for the running ones, and release those that do not finish."""
        self.registration.stopping = True
        self.caretaker.ask_to_stop()
        self.options.make_way(self.exit_status)
        self._placement.release_waiting()
        worker_stopping.send_robust(sender=Worker, **self.registration.facts())
        drained = self._drain.run()
        drained = self.caretaker.drain(self.shutdown.seconds_left) and drained
        self.caretaker.stop(LAST_WORDS)
        seconds = min(self.shutdown.seconds_left(), settings.SHUTDOWN_GRACE)
        written = self.recorder.stop(max(LAST_WORDS, seconds))
        for service in self._services:
            service.stop(LAST_WORDS)
        self.watch.stop()
        self._write_last_words()
        if written:
            self._sign_off()
        for pool in self.pools.values():
            pool.close()
        notify.set_waker(None)
        self._news.connection.close()
        self.stalls.stop()
        if telemetry.used is not None:
            telemetry.used.flush(TO_FLUSH)
        logger.info("worker %d stopped", self._pid)
        return drained and not self.held.given_up

    def _sign_off(self) -> None:
        # If it fails, the lease runs out by itself.
        with contextlib.suppress(DatabaseError, InterfaceError):
            self._receiver.reconcile(self._news.connection.wrapper)
            self.registration.sign_off(self._news.connection.wrapper)
            self._news.hear_last()
            self.caretaker.tell(self._news.connection.wrapper)

    def _write_last_words(self) -> None:
        """Write what services have kept in memory: counts and log lines."""
        if self._statistics:
            self._statistics.close()
        for service in (self._statistics, self._log_book):
            if service is not None:
                with contextlib.suppress(DatabaseError, InterfaceError):
                    service.run_once(self._news.connection.wrapper)

    # --- messages between parts -------------------------------------------------------------------------------------

    def _let_go(self, tasks: Sequence[ClaimedTask]) -> None:
        """The recorder calls this when claims are over."""
        self.recorder.burden.let_go(self.held.let_go(tasks))
        if payload.some_tell([task.payload for task in tasks]):
            self._services[-1].hurry(Notifier)
        if self.held:
            return
        self._receiver.offers.make()
        if not self.held and (self.claimer.quarantine.is_on() or self.options.burst):
            self.claimer.quarantine.end()
            self.wakeup.wake()

    def _cancel(self, ids: Sequence[uuid.UUID]) -> None:
        """The heartbeat calls this to cancel tasks. Some may have been handed over and still be on their way."""
        self.held.cancel(ids, others=self._receiver.offers.are_open())
        self.caretaker.cancel(ids)
        self.watch.wake()

    def _renamed(self) -> None:
        """The heartbeat calls this when the worker was no longer in the register, and has a new name."""
        self.wakeup.wake()
        self.caretaker.look()

    def _stop_tasks(self, over: bool) -> None:
        """The stall watch calls this when the worker has to stop and its loop waits for the database."""
        self._placement.release_waiting()
        self.watch.ask_all()
        if over:
            self.watch.interrupt_all()

    def _look_before_claiming(self) -> None:
        """Services call this when the last look for work may be out of date."""
        self.claimer.hopeful = False
        self.wakeup.wake()

    def _is_last_coroutine(self) -> bool:
        return self.pools[COROUTINE].outstanding() == 1
