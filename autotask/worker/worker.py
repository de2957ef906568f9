"""One worker: its parts, how they are connected, and how it starts and stops."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Sequence

from django.db import DatabaseError, InterfaceError

from autotask import lines, payload, telemetry
from autotask.conf import settings
from autotask.offer import Offers
from autotask.own_worker import own
from autotask.signals import worker_started, worker_stopping
from autotask.task import COROUTINE, PROCESS, THREAD, ClaimedTask
from autotask.wakeup import Wakeup
from autotask.worker import executors, hygiene, log_capture, surroundings, sync_threads
from autotask.worker.blocked_loop import BlockedLoop
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
from autotask.worker.loop import Loop
from autotask.worker.news import News
from autotask.worker.options import WorkerOptions
from autotask.worker.pools.base import Pool, Run
from autotask.worker.pools.coroutines import CoroutinePool
from autotask.worker.pools.processes import ProcessPool
from autotask.worker.pools.threads import ThreadPool
from autotask.worker.receiver import Receiver
from autotask.worker.recorder import Recorder
from autotask.worker.recycling import Recycling
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.resting import Rest
from autotask.worker.runner import Runner
from autotask.worker.services import Services
from autotask.worker.serving import Serving
from autotask.worker.shutdown import Shutdown
from autotask.worker.stall import StallWatch
from autotask.worker.unknown_tasks import UnknownTasks
from autotask.worker.watch import Watch

logger = logging.getLogger("autotask.worker")

#: Seconds to write the last outcomes.
LAST_WORDS = 0.5

#: Seconds within which telemetry has to be sent when the worker has nothing else to do.
TO_FLUSH = 2.0


class Worker:
    """A process that claims and runs tasks. :meth:`run` returns after :meth:`stop`.

    It keeps its parts, each of which keeps one kind of state, and passes messages between them.

    :param show: called with the running tasks a few times a second, and once when no task runs now.
    """

    def __init__(
        self, options: WorkerOptions, show: Callable[[Sequence[Run[ClaimedTask]]], None] | None = None
    ) -> None:
        self.options = options
        self.wakeup = Wakeup(options.wake_fd)
        self.shutdown = Shutdown(self.wakeup.wake)
        self.held = HeldTasks()
        self.unknown_tasks = UnknownTasks()
        self.reporter = Reporter(self.held.has)
        self.registration = Registration(options, executors.names(options))
        self.gates = Gates(self.wakeup.call)
        self.serving = Serving(options, self._look_before_claiming)
        self.rest = Rest(self.registration, self.held, self._may_rest)
        self.services = self._make_services()
        self.caretaker = Caretaker(self.registration, self.reporter, options.serves, self.services.count)
        followers = Followers(lambda *task: threads.follow(*task), self.wakeup.wake, options.threads)
        self.recorder = Recorder(
            *(self._let_go, self.reporter, self.unknown_tasks, self.gates, followers, self.services.count),
            self.held.unfinished,
        )
        runner = self._make_runner()
        threads = self._make_threads(runner)
        self.pools: dict[str, Pool[ClaimedTask]] = {THREAD: threads, **self._other_pools(runner)}
        abandoner = Abandoner(self.held, self.recorder, self.shutdown)
        pools = self.pools.values()
        blocked = BlockedLoop(self._coroutines)
        self.watch = Watch(list(pools), self.held.is_cancelled, abandoner.give_up, show, blocked.look)
        self.stalls = StallWatch(self.wakeup, self._stop_tasks, lambda: self.exit_status)
        recycling = Recycling(options.max_tasks, options.max_memory)
        placement = Placement(pools, self.held, self.recorder, runner, self.watch, recycling)
        news = News(self.wakeup, lambda: self.id, self.services.beat_now, self.services.look_now, self.rest)
        self.claimer = self._make_claimer(threads, placement, news)
        parts = self.wakeup, self.shutdown, self.registration, self.held
        offers = Offers(options.offer_fds)
        receiver = Receiver(
            *(offers, *parts, self.recorder, self.claimer, self.serving.serves_all, self.caretaker),
            self.services.chores,
        )
        self.loop = Loop(options, *parts, news, self.claimer, receiver)
        self._drain = Drain(pools, self.watch, abandoner, self.shutdown, self.wakeup, news, receiver)

    @property
    def id(self) -> uuid.UUID:
        """The current id of the worker."""
        return self.registration.id

    @property
    def exit_status(self) -> int:
        """The exit status of the process."""
        return self.shutdown.exit_status

    # --- its parts --------------------------------------------------------------------------------------------------

    def _make_services(self) -> Services:
        heartbeat = Heartbeat(self.registration, self.held, self._cancel, self._renamed, self._is_idle, self._line)
        return Services(
            *(self.options, self.registration, self.reporter, self.serving, self.wakeup, heartbeat),
            self.rest,
            self._look_before_claiming,
            lambda connection: self.caretaker.tell(connection),
        )

    def _make_runner(self) -> Runner:
        parts = self.registration, self.held, self.reporter, self.recorder
        return Runner(*parts, self._is_last_coroutine, self.services.keep_line)

    def _make_threads(self, runner: Runner) -> ThreadPool[ClaimedTask]:
        # A thread without tasks keeps no connections, whatever their CONN_MAX_AGE is: a database has few of them.
        return ThreadPool(
            self.options.threads,
            runner.run,
            self.wakeup.wake,
            end=hygiene.close_connections,
            begin=surroundings.read_settings,
        )

    def _other_pools(self, runner: Runner) -> dict[str, Pool[ClaimedTask]]:
        options, wake = self.options, self.wakeup.wake
        self._coroutines = CoroutinePool(options.coroutines, runner.run_coroutine, wake, sync_threads.helpers)
        return {
            COROUTINE: self._coroutines,
            PROCESS: ProcessPool(options.processes, "autotask.worker.child", runner, wake),
            **executors.pools(runner, wake),
        }

    def _make_claimer(self, pool: ThreadPool[ClaimedTask], placement: Placement, news: News) -> Claimer:
        serving, burden = self.serving, self.recorder.burden
        claims = Claims(self.registration, self.unknown_tasks, serving.paused)
        threads = ThreadIntake(pool, serving.in_executor(THREAD), claims, burden.most_ahead)
        others = {name: each for name, each in self.pools.items() if name != THREAD}
        intakes: dict[str, Intake] = {
            name: Intake(name, each, serving.in_executor(name), claims)
            if name in (COROUTINE, PROCESS)
            else ExecutorIntake(name, each, serving.in_executor(name), claims, burden.most_ahead)
            for name, each in others.items()
        }
        parts = self.registration, self.held, burden, news, claims, self.gates
        return Claimer(*parts, placement, threads, intakes, serving.serves)

    def _is_idle(self) -> bool:
        """Whether it is enough to tell this worker of a task: it would take it at once, and nothing else keeps it busy."""
        return not self.held and bool(self._line())

    def _may_rest(self) -> bool:
        """Whether others may listen for this worker: not if it listens with a further connection anyway."""
        return not self.options.burst and not self.caretaker.listens() and self.services.relay is None

    def _line(self) -> str:
        """Return the mark of the line on which this worker can be handed tasks; "" if it might not take them."""
        # One that ends as soon as it finds nothing is not to be waited for.
        if self.options.burst or self.registration.stopping or self.unknown_tasks.were_met_lately():
            return ""
        takes = self.loop.news.can_be_told and self.serving.yielding.leaves_nothing()
        return lines.current().mark if takes else ""

    # --- start and stop ---------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Work until a request to stop.

        :returns: whether all tasks have finished; False if some are left in their threads.
        """
        log_capture.start(self.services.log_book)
        if not self._start(self.stalls):
            return False
        if not self.loop.sign_on():
            self.stalls.stop()
            return True
        if not self._start(self.recorder, self.services, self.watch):
            self._sign_off()
            self.loop.news.connection.close()
            self.stalls.stop()
            return False
        own.wake = self.wakeup.call
        logger.info("%s", self.registration.introduction())
        worker_started.send_robust(sender=Worker, **self.registration.facts())
        if not self.options.burst:
            self.caretaker.start()
        try:
            self.loop.run()
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

    def _start(self, *parts: StallWatch | Recorder | Services | Watch) -> bool:
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
        self.loop.news.be_handed_nothing()
        self.loop.receiver.accept()
        self.caretaker.ask_to_stop()
        self.options.make_way(self.exit_status)
        self.claimer.placement.release_waiting()
        worker_stopping.send_robust(sender=Worker, **self.registration.facts())
        drained = self._drain.run()
        drained = self.caretaker.drain(self.shutdown.seconds_left) and drained
        self.caretaker.stop(LAST_WORDS)
        seconds = min(self.shutdown.seconds_left(), settings.SHUTDOWN_GRACE)
        written = self.recorder.stop(max(LAST_WORDS, seconds))
        self.services.stop(LAST_WORDS)
        self.watch.stop()
        self.services.write_last_words(lambda: self.loop.news.connection.wrapper)
        if written:
            self._sign_off()
        for pool in self.pools.values():
            pool.close()
        own.wake = None
        self.loop.news.connection.close()
        self.stalls.stop()
        if telemetry.used is not None:
            telemetry.used.flush(TO_FLUSH)
        logger.info("worker %d stopped", self._pid)
        return drained and not self.held.given_up

    def _sign_off(self) -> None:
        news = self.loop.news
        # If it fails, the lease runs out by itself.
        with contextlib.suppress(DatabaseError, InterfaceError):
            self.loop.receiver.reconcile(news.connection.wrapper)
            self.registration.sign_off(news.connection.wrapper)
            news.hear_last()
            self.caretaker.tell(news.connection.wrapper)

    # --- messages between parts -------------------------------------------------------------------------------------

    def _let_go(self, tasks: Sequence[ClaimedTask]) -> None:
        """The recorder calls this when claims are over."""
        self.recorder.burden.let_go(self.held.let_go(tasks))
        if payload.some_tell([task.payload for task in tasks]):
            self.services.tell_of_ends()
        if self.held:
            return
        self.loop.receiver.offers.make()
        if not self.held and (self.claimer.quarantine.is_on() or self.options.burst):
            self.claimer.quarantine.end()
            self.wakeup.wake()

    def _cancel(self, ids: Sequence[uuid.UUID]) -> None:
        """The heartbeat calls this to cancel tasks. Some may have been handed over and still be on their way."""
        self.held.cancel(ids, others=self.loop.receiver.expects_tasks())
        self.caretaker.cancel(ids)
        self.watch.wake()

    def _renamed(self) -> None:
        """The heartbeat calls this when the worker was no longer in the register, and has a new name."""
        self.wakeup.wake()
        self.caretaker.look()

    def _stop_tasks(self, over: bool) -> None:
        """The stall watch calls this when the worker has to stop and its loop waits for the database."""
        self.claimer.placement.release_waiting()
        self.watch.ask_all()
        if over:
            self.watch.interrupt_all()

    def _look_before_claiming(self) -> None:
        """Services call this when the last look for work may be out of date."""
        self.claimer.hopeful = False
        self.wakeup.wake()

    def _is_last_coroutine(self) -> bool:
        return self.pools[COROUTINE].outstanding() == 1
