"""Claim what fits, hand it to the pool, sleep until woken, drain and leave."""

import contextlib
import enum
import functools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import handover
from autotask.conf import settings
from autotask.offer import OVERDUE, Offers
from autotask.processes.exit_status import FAILED, RECYCLED
from autotask.processes.supervised import RECYCLE_WITHIN
from autotask.signals import worker_started, worker_stopping
from autotask.store import claim, notify, promote, read, workers
from autotask.store.claim import BoundedLane, Lane
from autotask.store.connection import dedicated
from autotask.store.finish import Outcome
from autotask.store.progress import Claim
from autotask.task import COROUTINE, PROCESS, THREAD, ClaimedTask
from autotask.wakeup import Wakeup
from autotask.worker import coroutine, execution, executors, steps, sync_threads
from autotask.worker.dispatch import Dispatch
from autotask.worker.heartbeat import Heartbeat
from autotask.worker.identity import make_identity
from autotask.worker.intake import Intake
from autotask.worker.lanes import Lanes, Looks
from autotask.worker.outcome import GiveBack, Lost
from autotask.worker.pools.base import Abandoned, Attempt, Pool, Run
from autotask.worker.pools.coroutines import CoroutinePlace, CoroutinePool
from autotask.worker.pools.processes import ProcessPool
from autotask.worker.pools.threads import ThreadPool
from autotask.worker.pruner import Pruner
from autotask.worker.recorder import Recorder
from autotask.worker.reporter import Reporter
from autotask.worker.rescuer import Rescuer
from autotask.worker.scheduler import Scheduler
from autotask.worker.service import ServiceThread
from autotask.worker.stall import StallWatch
from autotask.worker.strangers import Strangers
from autotask.worker.sync_threads import NoThread
from autotask.worker.tidiness import tidy_connections
from autotask.worker.watch import STOP_WITHIN, Watch
from autotask.worker.wear import Wear
from autotask.worker.weather import Weather
from autotask.worker.yielding import Yielding

logger = logging.getLogger("autotask.worker")

#: Tasks taken by one claim at most. Each claim is a commit and has to be planned, which a hundred already share well; with
#: many more the planner takes to reading the whole table.
LARGEST_CLAIM = 200

#: What is claimed beyond the free places should start within this many seconds.
PREFETCH = 0.05

#: Tasks held beyond the free places at most: enough to keep the pool busy while the next claim is under way.
MOST_PREFETCHED = 600

#: The first sleep without work, in seconds; each further one is twice as long, up to AUTOTASK_POLL_INTERVAL.
#: Its length covers the interval in which a process sends no second NOTIFY.
FIRST_SLEEP = 0.03

#: The first sleep, in seconds, when all ready tasks are locked: by another worker that is claiming them, or by somebody
#: who has asked to be told of their end. Each further one is twice as long, up to FIRST_SLEEP.
LOCKED_SLEEP = 0.001

#: Seconds between two looks for tasks that have become due, while there is other work.
PROMOTE_EVERY = 0.2

#: The longest sleep while there is no room, in seconds. What waits behind tasks that have not ended for as long is given
#: back.
BUSY_SLEEP = 1.0

#: Seconds in which none of several short tasks ends, after which more threads are woken for them.
STANDSTILL = 0.005

#: Tasks whose outcome is not recorded yet, beyond which nothing more is claimed.
MOST_HELD = 2000

#: Seconds after which a task is claimed again that could not be run for want of a thread, and seconds between two lines on
#: such tasks.
WITHOUT_THREAD = 5.0
SAY_EVERY = 5.0

#: Turns of the loop that fail in a row, for another reason than the database, after which the worker makes way for a fresh one.
MOST_FAILED_TURNS = 20

#: Seconds for which nothing is claimed so that a suspect can run alone, and seconds between two such times.
DRAIN_FOR = 2.0
DRAIN_EVERY = 10.0

#: Seconds that tasks get to stop in when the grace is over and they are interrupted.
TO_STOP = 0.2

#: Seconds to write the last outcomes in after that.
LAST_WORDS = 0.5

#: Requests to stop that come within so many seconds are one: a service manager may tell each process of a service, and
#: the guard tells its worker too.
SAME_REQUEST = 0.3

#: Seconds between two tries to find the tables before ``migrate`` has made them.
TABLES_EVERY = 2.0


class Look(enum.Enum):
    """What a look for work has shown."""

    MORE = "there may be more to claim at once"
    NOTHING = "there is nothing more for this worker now"
    LOCKED = "there is more, but others are at it just now"
    NO_ROOM = "there may be more, but no room for it"


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What one worker is to do.

    :ivar kind: "companion" or "worker", for people.
    :ivar queues: only these are served; empty means all.
    :ivar exclude_queues: these are not served.
    :ivar threads: how many tasks it runs at a time in threads.
    :ivar coroutines: how many of those it runs at a time whose function is a coroutine function.
    :ivar processes: how many of those it runs at a time that have asked for a process.
    :ivar serves_pid: the Django process whose companion it is.
    :ivar wake_fd: a pipe by whose bytes that process wakes the worker.
    :ivar offer_fds: the ends of a pipe in which it offers that process to be handed the next task.
    :ivar burst: end when there is nothing more to do.
    :ivar max_tasks: after so many tasks it makes way for a fresh one.
    :ivar max_memory: when its process uses more bytes than this, it makes way for a fresh one.
    :ivar reload: when its code changes, it makes way for one with the new code.
    :ivar yields: leave to dedicated workers what they serve.
    :ivar make_way: is called with its exit status when it takes no more tasks, so that others need not wait for its end.
    :ivar predecessor: what is known of the death of the worker before this one.
    """

    kind: str = "worker"
    queues: tuple[str, ...] = ()
    exclude_queues: tuple[str, ...] = ()
    threads: int = 4
    coroutines: int = 100
    processes: int = 2
    serves_pid: int | None = None
    wake_fd: int | None = None
    offer_fds: tuple[int, int] | None = None
    burst: bool = False
    max_tasks: int | None = None
    max_memory: int | None = None
    reload: bool = False
    yields: bool = False
    make_way: Callable[[int], None] = lambda status: None
    predecessor: str = ""

    def serves(self, queue: str) -> bool:
        """Whether this worker takes tasks from a queue."""
        return queue not in self.exclude_queues and (not self.queues or queue in self.queues)


class Worker:
    """A process that claims and runs tasks. :meth:`run` returns after :meth:`stop`.

    :param show: called a few times a second, while something runs, with all that runs; and once when nothing does.
    """

    def __init__(
        self, options: WorkerOptions, show: Callable[[Sequence[Run[ClaimedTask]]], None] | None = None
    ) -> None:
        self.options = options
        self.wakeup = Wakeup(options.wake_fd)
        self._held: dict[uuid.UUID, ClaimedTask] = {}
        self._holding = threading.Lock()
        self._cancelled: set[uuid.UUID] = set()
        self._suspected: list[Lane] = []
        self._alone = False
        self._drain_at = self._drain_until = float("-inf")
        self._unsure = False
        #: Whether this worker has heard by NOTIFY, since the last look for lanes, that something was enqueued.
        self._told = False
        self._stop_at: float | None = None
        self._asked_at = float("-inf")
        self._given_up: set[int] = set()
        self._failed_turns = 0
        self._said_at = float("-inf")
        self._coroutines_are_ready = False
        self.exit_status = 0
        self._offers = Offers(options.offer_fds)
        self._connection = dedicated("claim")
        self._wear = Wear(options.max_tasks, options.max_memory)
        self._weather = Weather("claim tasks")
        self._yielding = Yielding(self._look_before_claiming)
        self._lanes = Lanes(self._serving(THREAD))
        self._sleep = FIRST_SLEEP
        #: Whether there is a reason to claim before having looked: nobody has woken an idle worker for nothing.
        self._hopeful = True
        self._locked_sleep = LOCKED_SLEEP
        self._promote_at = float("-inf")
        self._never_ready = promote.refusals()
        self._unclaimable = claim.refusals()
        self._looks = Looks()
        self._reconcile_at = float("-inf")
        self._reconcile_every = float("inf")
        self._prepared: BaseDatabaseWrapper | None = None
        self._ear: notify.Ear | None = None
        self._is_deaf = False
        self._finished_before, self._finished_at = 0, time.monotonic()
        self._last_busy = (0, 0.0)
        self._task_seconds: float | None = None
        self._reporter = Reporter(self._holds)
        self._strangers = Strangers()
        self._recorder = Recorder(lambda: self._identity.id, self._let_go, self._reporter, self._strangers)
        self._burden = self._recorder.burden
        self._pool: ThreadPool[ClaimedTask] = ThreadPool(options.threads, self._run_one, self.wakeup.wake)
        coroutines = CoroutinePool(options.coroutines, self._run_coroutine, self.wakeup.wake, sync_threads.helpers)
        dispatch = Dispatch(self._not_begun, self._is_cancelled, self._reporter, self._put)
        beside: dict[str, Pool[ClaimedTask]] = {
            COROUTINE: coroutines,
            PROCESS: ProcessPool(options.processes, "autotask.worker.child", dispatch, self.wakeup.wake),
            **executors.pools(dispatch, self.wakeup.wake),
        }
        self._intakes = {
            name: Intake(name, pool, self._serving(name), self._strangers.names, self._unclaimable)
            for name, pool in beside.items()
        }
        self._identity = self._new_identity()
        self._pools = [self._pool, *beside.values()]
        #: Where a task that crashes takes others along; a child process runs one only.
        self._crowded = {THREAD} | {name for name, pool in beside.items() if name != PROCESS and pool.size}
        self.stalls = StallWatch(self.wakeup, self._stop_tasks, lambda: self.exit_status)
        self._watch = Watch(self._pools, self._is_cancelled, self._give_up, show)
        self._heartbeat = Heartbeat(
            lambda: self._identity.id, self._cancel, self._register_anew, lambda: bool(self._held)
        )
        # Alone on its connection: no other service that waits for the database may hold up the beat.
        self._beats = ServiceThread(
            "heartbeat", self._heartbeat, channel=lambda: notify.worker_channel(self._identity.id)
        )
        self._services = ServiceThread(
            "services",
            Rescuer(lambda: self._identity, self.wakeup.wake, options.predecessor),
            Scheduler(self.wakeup.wake),
            self._reporter,
            Pruner(),
            *([self._yielding] if options.yields else []),
            channel=lambda: notify.SCHEDULES_CHANNEL,
        )

    def run(self) -> bool:
        """Work until told to stop.

        :returns: whether all tasks came to their end; False if some had to be left in their threads.
        """
        if not self._start(self.stalls):
            return False
        if not self._sign_on():
            self.stalls.stop()
            return True
        if not self._start(self._recorder, self._beats, self._services, self._watch):
            self._sign_off()
            self._connection.close()
            self.stalls.stop()
            return False
        notify.set_waker(self.wakeup.call)
        logger.info("%s", self._introduction())
        worker_started.send_robust(sender=Worker, **self._facts())
        try:
            while self._stop_at is None:
                self._turn()
                self._look_at_wear()
        except BaseException:  # noqa: B036 - whatever it is, what is held must not go with this worker
            logger.exception("The loop of worker %d has failed; it makes way for another one", self._identity.pid)
            self.recycle()
        return self._leave()

    def _start(self, *parts: StallWatch | Recorder | ServiceThread | Watch) -> bool:
        """Start the threads of parts of this worker; return False if the system has none left for them."""
        try:
            for part in parts:
                part.start()
        except RuntimeError as error:  # no memory, or no more threads
            logger.error("Worker %d cannot start, for want of threads: %s", self._identity.pid, error)
            self.exit_status = FAILED
            return False
        return True

    def stop(self) -> None:
        """Tell the worker to finish what it runs and to leave. May be called from a signal handler."""
        now = time.monotonic()
        if self._asked_at == float("-inf"):
            self._stop_at = now + settings.SHUTDOWN_GRACE
        elif now - self._asked_at >= SAME_REQUEST:
            self._stop_at = now  # Asked twice: at once.
        self._asked_at = now
        self.wakeup.wake()

    def recycle(self) -> None:
        """Have the worker leave, with a status of its own, when all that it runs has come to its end, or after a while."""
        self.exit_status = RECYCLED
        if self._stop_at is None:
            self._stop_at = time.monotonic() + max(RECYCLE_WITHIN, settings.SHUTDOWN_GRACE)
        self.wakeup.wake()

    def renew(self) -> None:
        """Like :meth:`stop`, with the status that asks for a successor: the code has changed. Any thread may call this."""
        if self._stop_at is None:
            logger.info("The code has changed; worker %d makes way for one that has the new code", self._identity.pid)
            self.exit_status = RECYCLED
            # Nobody has asked it to stop: the first one who does must not be taken for the second.
            self._stop_at = time.monotonic() + settings.SHUTDOWN_GRACE
            self.wakeup.wake()

    # --- one turn of the loop ---------------------------------------------------------------------------------------

    def _turn(self) -> None:
        try:
            connection = self._connection.wrapper
            self._accept()
            self._prepare(connection)
            self._pool.balance()
            self._give_back_stuck()
            look = self._take_beside(connection, self._take(connection))
            due = None
            left = self._promote_at - time.monotonic()
            if left <= 0 or look not in (Look.MORE, Look.NO_ROOM):
                due = self._promote(connection)
            elif look is Look.NO_ROOM:
                due = left
            self._weather.succeeded()
            if look is not Look.MORE and due != 0:
                self._pause(look, due)
            self._failed_turns = 0
        except (DatabaseError, InterfaceError, OSError) as error:  # OSError: the socket of a lost connection
            self._begin_again(error)
        except Exception as error:
            self._failed_turns += 1
            if self._failed_turns > MOST_FAILED_TURNS:
                raise
            self._begin_again(error)

    def _begin_again(self, error: Exception) -> None:
        """Wait a moment after a turn that has failed; what was claimed in it and is not held is given back in the next one."""
        self._connection.close()
        self.wakeup.sleep(self._weather.failed(error))

    def _take(self, connection: BaseDatabaseWrapper) -> Look:
        """Claim what fits and hand it over; return what is to be expected of another look."""
        if self._wear.is_used_up():
            return Look.NO_ROOM
        if not self._may_claim():
            # What is claimed under a doubtful lease would only have to be given back; and while outcomes cannot be
            # recorded, there must not be ever more of them.
            return Look.LOCKED
        if self._in_quarantine(connection) or not (room := self._room()):
            return Look.NO_ROOM
        look_at = self._time_to_look()
        claimed = self._claim(connection, room, unbounded=False) if self._lanes and self._hopeful else []
        self._hopeful = True
        if len(claimed) < room or time.monotonic() >= look_at:
            self._look(connection)
        if len(claimed) == room:
            return Look.MORE
        # Fewer than asked for: there may be lanes that were not known, or rows below the lower bounds.
        if self._lanes.busy and not claimed:
            claimed = self._claim(connection, room, unbounded=True)
        if self._lanes.busy:
            return Look.MORE if claimed else Look.LOCKED
        return Look.NOTHING

    def _may_claim(self) -> bool:
        return self._heartbeat.is_fresh() and len(self._held) <= MOST_HELD and self._burden.is_bearable()

    def _take_beside(self, connection: BaseDatabaseWrapper, look: Look) -> Look:
        """Claim for the pools beside the threads; *look* is what the threads have to expect, returned for all of them."""
        if not self._may_claim() or self._alone or (self._suspected and time.monotonic() < self._drain_until):
            return look
        if look is Look.NO_ROOM and time.monotonic() >= self._time_to_look():
            self._look(connection)  # The threads have not looked; they are busy.
        looks = {look, *(self._take_into(intake, connection) for intake in self._intakes.values())}
        return next((best for best in (Look.MORE, Look.LOCKED, Look.NO_ROOM) if best in looks), Look.NOTHING)

    def _take_into(self, intake: Intake, connection: BaseDatabaseWrapper) -> Look:
        if not intake.has_work() or not (room := self._wear.left(min(LARGEST_CLAIM, intake.room()))):
            return Look.NOTHING  # until the pool wakes the loop
        if claimed := intake.claim(connection, self._identity.id, room, self._burden.most_claimed(room)):
            self._note_claimed(claimed, intake.pool)
            return Look.MORE
        self._look(connection)
        return Look.LOCKED if intake.has_work() else Look.NOTHING

    def _time_to_look(self) -> float:
        """Return when to look for lanes that are not known; sooner if something has been enqueued since the last look."""
        self.wakeup.sleep(0)
        self._hears()
        return self._looks.next_at(told=self._told or self.wakeup.called)

    def _look(self, connection: BaseDatabaseWrapper) -> None:
        """Find the lanes that hold work, from time to time also while known ones have enough: others may be urgent."""
        began = time.monotonic()
        called, self.wakeup.called, self._told = self.wakeup.called, False, False
        if not self._held:
            self._cancelled.clear()
        lanes, suspected = claim.find_lanes(
            connection, strangers=self._strangers.names(), spared=self._unclaimable.spared()
        )
        self._lanes.found(lanes)
        for intake in self._intakes.values():
            intake.lanes.found(lanes)
        self._suspected = [
            lane for lane in suspected if lane.executor in self._crowded and self._serves(lane.executor, lane.queue)
        ]
        if called and not all(self._serves(lane.executor, lane.queue) for lane in lanes):
            notify.send(connection)  # Who has enqueued may have told this worker only, and it is for others.
        self._looks.took(began, time.monotonic())

    def _claim(self, connection: BaseDatabaseWrapper, room: int, *, unbounded: bool) -> list[ClaimedTask]:
        lanes = self._lanes.in_order(unbounded=unbounded)
        claimed = claim.claim(
            connection,
            self._identity.id,
            lanes,
            per_lane=self._lanes.share(room),
            limit=room,
            most_bytes=self._burden.most_claimed(room),
            strangers=self._strangers.names(),
            refused=self._unclaimable,
        )
        self._lanes.claimed(claimed)
        self._note_claimed(claimed, self._pool)
        return claimed

    def _note_claimed(self, claimed: list[ClaimedTask], pool: Pool[ClaimedTask]) -> None:
        if claimed:
            self._sleep, self._locked_sleep = FIRST_SLEEP, LOCKED_SLEEP
        self._submit(claimed, pool)

    def _submit(self, claimed: list[ClaimedTask], pool: Pool[ClaimedTask]) -> None:
        self._wear.take(len(claimed))
        self._burden.take(claimed)
        with self._holding:  # else the recorder could let go of this claim in place of a former one
            for task in claimed:
                # Each look at a dictionary by a UUID takes long, so there is one, and one more where it is needed.
                if (former := self._held.setdefault(task.id, task)) is not task:
                    self._burden.replace(former)
                    self._held[task.id] = task
            self._cancelled.update([task.id for task in claimed if task.cancel_requested])
        for task in claimed:
            try:
                pool.submit(task)
            except Exception as error:  # no more threads, or whatever else: the task must not stay here without a place
                self._wear.take(-1)
                self._recorder.put((task, self._without_thread(task, error)))
        self._watch.begin()

    def _without_thread(self, task: ClaimedTask, error: Exception) -> GiveBack:
        """Return that a task is given back, and say so, once in a while however many there are."""
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY:
            self._said_at = now
            logger.error("%s %s is given back, as it cannot be run here now: %s", task.name, task.id, error)
        return GiveBack(task, delay=WITHOUT_THREAD)

    def _in_quarantine(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether nothing else may be claimed now, because of a suspect: a task that has lost its worker.

        It may have killed it. So it is claimed by itself, when nothing else is held, and nothing is claimed beside it:
        if it kills again, no other task can be blamed. What runs gets a moment to come to its end first. A long task
        does not hold up the others for longer than that; then the suspect is left for a worker that is idle.
        """
        if self._alone or self._suspected:
            now = time.monotonic()
            if self._held:
                if now >= self._drain_at:
                    self._drain_at, self._drain_until = now + DRAIN_EVERY, now + DRAIN_FOR
                return self._alone or now < self._drain_until
            self._alone = False  # Nothing is held, so whatever ran alone has ended.
            if not self._suspected:
                return False
            executor = self._suspected[0].executor
            lanes = [BoundedLane(lane, None) for lane in self._suspected if lane.executor == executor]
            suspect = claim.claim(
                connection,
                self._identity.id,
                lanes,
                per_lane=1,
                limit=1,
                which=claim.SUSPECT,
                strangers=self._strangers.names(),
                refused=self._unclaimable,
            )
            # In this order: as soon as it is submitted it may end, which ends its being alone.
            self._alone = bool(suspect)
            self._submit(suspect, self._intakes[executor].pool if executor in self._intakes else self._pool)
            self._look(connection)
        return self._alone

    def _room(self) -> int:
        """Return how many more tasks may be claimed now; 0 also when it is too early to be worth a statement."""
        prefetch = self._prefetch()
        outstanding = self._pool.outstanding()
        if outstanding > self.options.threads - 1 + prefetch // 2:
            return 0
        return self._wear.left(min(LARGEST_CLAIM, self.options.threads + prefetch - outstanding))

    def _prefetch(self) -> int:
        """Return how many tasks to hold beyond those that run, going by how long the last ones took."""
        count, seconds = self._pool.busy_seconds()
        new = count - self._last_busy[0]
        if new:
            mean = (seconds - self._last_busy[1]) / new
            self._task_seconds = mean if self._task_seconds is None else max(mean, (self._task_seconds + mean) / 2)
            self._last_busy = count, seconds
        if self._task_seconds is None:
            return 0
        prefetch = min(MOST_PREFETCHED, int(self.options.threads * PREFETCH / max(self._task_seconds, 1e-6)))
        most = self._burden.most_ahead(new)
        return prefetch if most is None else max(0, min(prefetch, most))

    def _look_at_wear(self) -> None:
        """Make way for a fresh worker when this one has done enough."""
        if self._wear.is_used_up() and not self._some_wait():
            logger.info("worker %d has done its %d tasks, and makes way", self._identity.pid, self.options.max_tasks)
            self.recycle()
        elif excess := self._wear.excess():
            logger.info("worker %d uses much memory, %s, and makes way", self._identity.pid, excess)
            self.recycle()

    def _promote(self, connection: BaseDatabaseWrapper) -> float | None:
        """Make ready what is due; return the seconds until more will be, 0 if something has become ready now."""
        self._promote_at = time.monotonic() + PROMOTE_EVERY
        count, seconds = promote.promote(connection, refused=self._never_ready)
        return 0.0 if count else seconds

    def _serving(self, executor: str) -> Callable[[str], bool]:
        return functools.partial(self._serves, executor)

    def _serves(self, executor: str, queue: str) -> bool:
        return self.options.serves(queue) and not self._yielding.leaves(executor, queue)

    # --- sleeping ---------------------------------------------------------------------------------------------------

    def _pause(self, look: Look, due: float | None) -> None:
        if look is Look.NO_ROOM:
            self._sleep_until_room(due)
        elif look is Look.LOCKED:
            self._sleep_on(self._locked_sleep)
            self._locked_sleep = min(2 * self._locked_sleep, FIRST_SLEEP)
        elif self.options.burst and not self._held:
            self.stop()
        else:
            self._sleep_until(due)

    def _sleep_until(self, due: float | None) -> None:
        """Sleep until woken, until the next task is due, or until it is time for a look by oneself."""
        if self._sleep_and_accept(min(self._sleep, self._sleep if due is None else due)):
            # Who woke this worker may have been too quick for the next wake-up to be sent: look again soon.
            self._sleep = FIRST_SLEEP
        else:
            self._hopeful = False
            self._sleep = min(2 * self._sleep, settings.POLL_INTERVAL)

    def _sleep_and_accept(self, seconds: float) -> bool:
        """Sleep, and accept what is handed over meanwhile; return whether the loop was woken for anything else."""
        until = min(time.monotonic() + seconds, self._reconcile_at)
        self._offer()
        try:
            while (left := until - time.monotonic()) > 0:
                # Nothing wakes this worker when its offer is taken.
                woken = self._sleep_on(min(left, OVERDUE) if self._offers.are_open() else left)
                accepted = self._accept()
                if (woken and not accepted) or self.wakeup.called or self._told or self._stop_at is not None:
                    return True
                if accepted:
                    # However many are handed over, it is looked for others soon.
                    until = min(until, time.monotonic() + FIRST_SLEEP)
                elif self._some_wait() or self._pool.holds_back():
                    break  # The pool wants to be looked after.
                elif self._offers.is_overdue():
                    return True
            return False
        finally:
            self._offers.close()

    def _offer(self) -> None:
        """Offer to be given the next task, if there is nothing that speaks against any."""
        unrestricted = not self.options.queues and not self.options.exclude_queues and self._yielding.leaves_nothing()
        if unrestricted and self._may_claim() and not self._alone and not self._suspected:
            self._offers.open(self._identity.id)
            if not self._held:
                self._offers.make()

    def _accept(self) -> bool:
        """Take in what was handed over; return whether there was anything."""
        bodies, self.wakeup.handed = self.wakeup.handed, []
        for body in bodies:
            try:
                task, offer = handover.load(body)
            except ValueError as error:
                logger.warning("%s; the task will be found in the table", error)
                continue
            mine = offer.worker_id == self._identity.id and self._offers.accept(offer.number)
            if mine and self._stop_at is None and self._may_claim() and not self._alone and self._room():
                self._note_claimed([task], self._pool)
            else:
                self._recorder.put((task, GiveBack(task)))
                self._sleep = FIRST_SLEEP
        return bool(bodies)

    def _sleep_until_room(self, due: float | None) -> None:
        self._pool.wake_when(self._prefetch() // 2)
        # What has ended before it was asked to wake the loop does not wake it.
        if not self._alone and not self._suspected and self._room():
            return
        longest = DRAIN_FOR / 10 if self._alone or self._suspected else BUSY_SLEEP
        self._sleep_on(longest if due is None else min(longest, max(due, PROMOTE_EVERY)))
        if self.wakeup.called and not self._room():
            # Somebody has enqueued and there is no room here; others may have some.
            self.wakeup.called, self._told = False, True
            notify.send(self._connection.wrapper)

    def _give_back_stuck(self) -> None:
        """Give back what waits behind tasks that take longer than the last ones did: another worker may be free."""
        now, (finished, _) = time.monotonic(), self._pool.busy_seconds()
        if finished != self._finished_before:
            self._finished_before, self._finished_at = finished, now
        elif now - self._finished_at >= BUSY_SLEEP and self._some_wait():
            self._task_seconds = now - self._finished_at
            self._give_back_waiting()

    def _some_wait(self) -> bool:
        return self._pool.outstanding() > self.options.threads

    def _sleep_on(self, seconds: float) -> bool:
        """Sleep, and return whether the loop was woken."""
        if self._stop_at is not None:
            return True
        if self._some_wait():
            seconds = min(seconds, BUSY_SLEEP)
        if self._pool.holds_back():
            seconds = min(seconds, STANDSTILL)
        if self._hears() or self.wakeup.handed:
            return True  # It came with the answer to an earlier statement, or while something else was looked for.
        woken = self.wakeup.sleep(seconds, None if self._ear is None else self._ear.fileno())
        self._hears()
        return woken

    def _hears(self) -> bool:
        """Take in what has come by NOTIFY, and return whether it was anything."""
        heard = self._ear is not None and self._ear.heard()
        self._told = self._told or heard
        return heard

    def _prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Listen on a new connection; from time to time, put right what lost answers have left behind."""
        if self._unsure:
            # What was claimed under the former name may run elsewhere by now.
            self._unsure = False
            self._give_back_waiting()
        now = time.monotonic()
        if self._prepared is not connection or now >= self._reconcile_at or self._offers.is_overdue():
            self._reconcile(connection)
            self._reconcile_at = now + min(self._reconcile_every, settings.LEASE)
            self._reconcile_every *= 2
        if self._prepared is not connection:
            self._ear, self._prepared, self._is_deaf = None, connection, False
        if self._ear is None and not self._is_deaf:
            self._listen(connection)

    def _listen(self, connection: BaseDatabaseWrapper) -> None:
        """Listen, as soon as it is known that something is heard. Who hears nothing goes on looking by itself."""
        hears = self._connection.hears()
        if hears:
            self._ear = notify.Ear(connection, notify.WORK_CHANNEL)
        self._is_deaf = hears is False
        if self._connection.pooled and hears is not None:
            logger.info(
                "The database is reached through a pooler %s",
                "that keeps sessions, where LISTEN hears: listening for work"
                if hears
                else "that shares sessions, where LISTEN hears nothing: looking for work by polling",
            )

    def _reconcile(self, connection: BaseDatabaseWrapper) -> None:
        """Give back what runs under the name of this worker without its knowing."""
        # In this order: what is handed over before is held, and what comes later than this is not run.
        self.wakeup.sleep(0)
        self._accept()
        if self._offers.void():
            self._reconcile_every = OVERDUE  # Who has taken it may still be about to commit.
        self._recorder.try_again()
        # In this order: what is set aside is held until it is known to be.
        held = [task.fence for task in self._held.copy().values()] + self._recorder.unrecorded()
        lost = claim.reconcile(connection, self._identity.id, held, refused=self._unclaimable)
        if lost:
            logger.warning("%d tasks given back that were claimed for this worker without its being told", len(lost))

    # --- what the threads of the pool call --------------------------------------------------------------------------

    def _run_one(self, task: ClaimedTask, attempt: Attempt) -> None:
        try:
            self._put(task, self._outcome_of(task, attempt))
        except BaseException as error:  # noqa: B036 - a thread of the pool must not end, nor its task stay without outcome
            # In this order: it may be the log that has failed.
            self._put(task, steps.broken(task, error))
            logger.exception("The worker itself failed at %s %s", task.name, task.id)

    async def _run_coroutine(self, task: ClaimedTask, place: CoroutinePlace[ClaimedTask]) -> None:
        try:
            ended = self._not_begun(task) or await self._without_its_thread(task)
            if ended is None:
                ended = await coroutine.execute(task, self._is_cancelled, self._reporter, place)
        except NoThread as error:
            ended = self._without_thread(task, error)
            self._put(task, ended)
        except BaseException as error:  # noqa: B036 - as above
            if place.is_destroyed():
                raise
            ended = steps.broken(task, error)
            self._put(task, ended)
            logger.exception("The worker itself failed at %s %s", task.name, task.id)
        else:
            self._put(task, ended)
        if not self._coroutines_are_ready:
            return  # Nothing has used a connection.
        try:
            await coroutine.tidy(ended, lambda: self._intakes[COROUTINE].pool.outstanding() == 1)
        except Exception:  # its outcome is put already, and must be its only one
            logger.exception("The connections that coroutines use could not be tidied after %s %s", task.name, task.id)

    async def _without_its_thread(self, task: ClaimedTask) -> GiveBack | None:
        """Return that a coroutine is given back if it could not use the database, for want of a thread."""
        if not self._coroutines_are_ready:
            try:
                await coroutine.get_ready()
            except RuntimeError as error:
                return self._without_thread(task, error)
            self._coroutines_are_ready = True
        return None

    def _outcome_of(self, task: ClaimedTask, attempt: Attempt) -> Outcome | GiveBack:
        if (ended := self._not_begun(task)) is not None:
            return ended
        return execution.execute(task, self._is_cancelled, self._reporter, attempt)

    def _not_begun(self, task: ClaimedTask) -> Outcome | GiveBack | None:
        """Return the outcome of a task that must not begin, although it was claimed."""
        if self._cancelled and task.id in self._cancelled:
            return steps.cancelled(task)
        return None if self._heartbeat.is_fresh() else GiveBack(task)

    def _put(self, task: ClaimedTask, ended: Outcome | GiveBack | Lost) -> None:
        if task.fence not in self._given_up:  # else its outcome was recorded without waiting for it
            self._recorder.put((task, ended))

    def _is_cancelled(self, task: ClaimedTask) -> bool:
        return task.id in self._cancelled

    # --- what the other threads call --------------------------------------------------------------------------------

    def _let_go(self, tasks: Iterable[ClaimedTask]) -> None:
        size = 0
        with self._holding:
            for task in tasks:
                # The same task may have been claimed again meanwhile.
                if self._held.get(task.id) is task:
                    del self._held[task.id]
                    size += len(task.payload)
                    if self._cancelled:
                        self._cancelled.discard(task.id)
        self._burden.let_go(size)
        if not self._held:
            self._offers.make()
        if not self._held and (self._alone or self._suspected or self.options.burst):
            self._alone = False
            self.wakeup.wake()

    def _holds(self, claim: Claim) -> bool:
        task = self._held.get(claim[0])
        return task is not None and task.fence == claim[1]

    def _cancel(self, ids: Sequence[uuid.UUID]) -> None:
        # What was stored as claimed by this worker may be on its way.
        self._cancelled.update(id for id in ids if id in self._held or self._offers.are_open())
        self._watch.wake()

    def _stop_tasks(self, over: bool) -> None:
        """Do to the tasks what is due when the worker is to stop, while its loop waits for the database."""
        self._give_back_waiting()
        self._watch.ask_all()
        if over:
            self._watch.interrupt_all()

    def _look_before_claiming(self) -> None:
        self._hopeful = False
        self.wakeup.wake()

    def _give_up(self, pool: Pool[ClaimedTask], run: Run[ClaimedTask], limit: float, left: Abandoned) -> None:
        task = run.record
        self._given_up.add(task.fence)
        self._recorder.put((task, steps.given_up(run, limit, left.where, self._is_cancelled(task))))
        tidy_connections(unsure=True)  # as those who are told of the end have left them
        if left.hangs:
            logger.error(
                "%s %s does not stop, %g s after its limit of %g s; this worker takes no more tasks, and makes way for "
                "another one when those that run have ended",
                task.name,
                task.id,
                STOP_WITHIN,
                limit,
            )
            if left.with_others:
                self._leave_behind(pool)
            self.recycle()

    def _register_anew(self, connection: BaseDatabaseWrapper) -> None:
        identity = self._new_identity()
        workers.sign_on(connection, identity, settings.LEASE)
        logger.warning(
            "The lease of this worker had run out (the process stood still, or the database was away); "
            "it goes on as a new worker, and outcomes of tasks that were given to others will be refused"
        )
        self._identity = identity
        self._unsure = True
        self.wakeup.wake()

    # --- coming and going -------------------------------------------------------------------------------------------

    def _new_identity(self) -> workers.WorkerIdentity:
        return make_identity(
            kind=self.options.kind,
            serves_pid=self.options.serves_pid,
            # What is not served is registered too, with a sign that no name begins with.
            queues=(*self.options.queues, *(f"-{queue}" for queue in self.options.exclude_queues)),
            threads=self.options.threads,
            executors=tuple(name for name, intake in self._intakes.items() if intake.pool.size),
        )

    def _sign_on(self) -> bool:
        """Enter the register, as soon as there is one; return False if told to stop before that."""
        said = False
        while self._stop_at is None:
            try:
                if read.has_tables(self._connection.wrapper):
                    workers.sign_on(self._connection.wrapper, self._identity, settings.LEASE)
                    self._weather.succeeded()
                    self._heartbeat.begin()
                    return True
            except (DatabaseError, InterfaceError) as error:
                self._connection.close()
                self.wakeup.sleep(self._weather.failed(error))
                continue
            if not said:
                logger.info("Waiting for the tables of autotask: python manage.py migrate")
                said = True
            self.wakeup.sleep(TABLES_EVERY)
        return False

    def _facts(self) -> dict[str, Any]:
        identity = self._identity
        return {"worker_id": identity.id, "kind": identity.kind, "pid": identity.pid, "queues": identity.queues}

    def _introduction(self) -> str:
        identity, options = self._identity, self.options
        served = ", ".join(options.queues) or "all"
        without = f" except {', '.join(options.exclude_queues)}" if options.exclude_queues else ""
        whose = f" as the companion of Django process {identity.serves_pid}" if identity.serves_pid else ""
        return f"worker {identity.pid} started{whose} (queues: {served}{without}; threads: {options.threads})"

    def _leave(self) -> bool:
        """Give back what has not begun, wait for what runs, give back what does not come to its end."""
        self._heartbeat.stopping = True
        self.options.make_way(self.exit_status)
        self._give_back_waiting()
        worker_stopping.send_robust(sender=Worker, **self._facts())
        drained = self._drain() or self._interrupt()
        if not drained:
            self._give_back_running()
        written = self._recorder.stop(max(LAST_WORDS, min(self._seconds_left(), settings.SHUTDOWN_GRACE)))
        self._beats.stop(LAST_WORDS)
        self._services.stop(LAST_WORDS)
        self._watch.stop()
        if written:
            self._sign_off()
        for pool in self._pools:
            pool.close()
        notify.set_waker(None)
        self._connection.close()
        self.stalls.stop()
        logger.info("worker %d stopped", self._identity.pid)
        return drained and not self._given_up

    def _give_back_waiting(self) -> None:
        for pool in self._pools:
            for task in pool.take_back():
                self._wear.take(-1)
                self._recorder.put((task, GiveBack(task)))

    def _drain(self) -> bool:
        while True:
            self._give_back_late()
            # Who has more than the grace recycles itself, and does not trouble the others before it is time for it.
            if self._seconds_left() <= settings.SHUTDOWN_GRACE:
                self._watch.ask_all()
            # In short steps: a request to stop may come meanwhile, a second one moves the end of the grace to now.
            if self._all_drained(0.05) and not self._offers.are_open():
                return True
            if self._seconds_left() <= 0:
                return False

    def _give_back_late(self) -> None:
        """Give back what is handed over while this worker comes to its end, or was to be handed over and was not."""
        self.wakeup.sleep(0)
        self._accept()
        if self._offers.is_overdue():
            # If it cannot be done now, it is done at the end.
            try:
                self._reconcile(self._connection.wrapper)
            except (DatabaseError, InterfaceError, OSError):
                self._connection.close()
                self._offers.void()  # else this worker would wait for it until its grace is over

    def _interrupt(self) -> bool:
        """Interrupt what has not come to its end within the grace; return whether all of it has stopped now."""
        self._watch.interrupt_all()
        return self._all_drained(TO_STOP)

    def _all_drained(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        return all(pool.drain(max(0.0, deadline - time.monotonic())) for pool in self._pools)

    def _give_back_running(self) -> None:
        for pool in self._pools:
            self._leave_behind(pool)

    def _leave_behind(self, pool: Pool[ClaimedTask]) -> None:
        for run in pool.running():
            task = run.record
            if pool.abandon(task) is not None:
                self._given_up.add(task.fence)
                ended = steps.left_behind(run, self._is_cancelled(task))
                what = "is given back to be run by another worker" if isinstance(ended, GiveBack) else "ends so"
                logger.warning("%s %s does not stop; it %s", task.name, task.id, what)
                self._recorder.put((task, ended))

    def _seconds_left(self) -> float:
        """Return the rest of the grace, or of the longer time that a worker has which recycles itself."""
        return 0.0 if self._stop_at is None else self._stop_at - time.monotonic()

    def _sign_off(self) -> None:
        # If it cannot be done, the lease runs out by itself.
        with contextlib.suppress(DatabaseError, InterfaceError):
            self._reconcile(self._connection.wrapper)
            workers.sign_off(self._connection.wrapper, self._identity.id)
