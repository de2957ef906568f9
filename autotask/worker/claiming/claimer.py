"""Choose what to claim in one turn of the loop."""

import enum
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim, claims
from autotask.store.claim import Lane
from autotask.store.errors import is_outage
from autotask.task import PROCESS, THREAD, ClaimedTask
from autotask.texts.lines import describe, one_line
from autotask.worker.burden import Burden
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.intake import AheadIntake, Intake, ThreadIntake
from autotask.worker.claiming.placement import Placement
from autotask.worker.claiming.quarantine import Quarantine
from autotask.worker.followers import Followers
from autotask.worker.gates import Gates
from autotask.worker.held import HeldTasks
from autotask.worker.idle import FIRST_SLEEP, IdleSleep
from autotask.worker.lanes import LookTimes
from autotask.worker.news import News
from autotask.worker.registration import Registration

logger = logging.getLogger("autotask.worker")

#: Seconds for which no followers are claimed after the database has refused that.
REST = 60.0

#: The most tasks in one claim, as many as fit into it: for a task that does nothing, claims and outcomes in batches of 200
#: cost the worker a tenth more time.
LARGEST_CLAIM = claims.MOST

#: Tasks without a recorded outcome, beyond which nothing more is claimed.
MOST_HELD = 3000


class Prospect(enum.Enum):
    """The result of a look for work."""

    MORE = "there may be more to claim at once"
    NOTHING = "there is nothing more for this worker now"
    LOCKED = "there is more, but others hold its locks just now"
    TURN = "there may be more, but it is the turn of others to claim"
    NO_ROOM = "there may be more, but no room for it"


@dataclass(eq=False, slots=True)
class Claimer:
    """When this worker has last looked for work, and what it may claim. Only the loop calls this.

    :param others: the intakes of the pools other than the threads.
    :param serves: whether an executor and a queue are served now.
    :ivar hopeful: whether to claim before looking for lanes: true unless an idle worker was woken for nothing. Any thread
        may set it to False.
    :ivar told: whether only this worker was told of what it has found, or those that rest were not, so that it has to pass on what it
        does not take.
    :ivar told_alone: whether only this worker was told.
    :ivar told_at: when it was told the last time.
    """

    registration: Registration
    held: HeldTasks
    burden: Burden
    news: News
    claims: Claims
    gates: Gates
    placement: Placement
    threads: ThreadIntake
    others: Mapping[str, Intake]
    serves: Callable[[str, str], bool]
    idle: IdleSleep = field(default_factory=IdleSleep, init=False)
    quarantine: Quarantine = field(default_factory=Quarantine, init=False)
    looks: LookTimes = field(default_factory=LookTimes, init=False)
    hopeful: bool = field(default=True, init=False)
    told: bool = field(default=False, init=False)
    told_alone: bool = field(default=True, init=False)
    told_at: float = field(default=float("-inf"), init=False)

    @property
    def followers(self) -> Followers:
        """The tasks that wait here for the slots of others."""
        return self.placement.recorder.followers

    def take(self, connection: BaseDatabaseWrapper) -> Prospect:
        """Claim for each pool that has room; return what to expect of another look."""
        self.follow(connection)
        look = self._take_for_threads(connection)
        if not self.may_claim() or self.quarantine.bars_others(time.monotonic()):
            return look
        if look is Prospect.NO_ROOM and (self.told or time.monotonic() >= self._time_to_look()):
            self.look(connection)  # The threads are busy, and have not looked.
        looks = {look, *(self._take_into(intake, connection) for intake in self.others.values())}
        better = Prospect.MORE, Prospect.LOCKED, Prospect.TURN, Prospect.NO_ROOM
        return next((best for best in better if best in looks), Prospect.NOTHING)

    def is_stuck(self, now: float) -> bool:
        """Whether tasks wait behind unexpectedly long ones: another worker may be free."""
        stuck = [intake.is_stuck(now) for intake in self._ahead()]  # all of them, since each takes note
        return any(stuck)

    def some_wait(self) -> bool:
        """Whether tasks wait for a free place."""
        return any(intake.some_wait() for intake in self._ahead())

    def may_claim(self) -> bool:
        """Whether this worker may hold more.

        Tasks claimed under a doubtful lease would only be released again; and while outcomes cannot be recorded, they must
        not pile up.
        """
        return self.registration.is_fresh() and len(self.held) <= MOST_HELD and self.burden.is_bearable()

    def room(self) -> int:
        """Return the number of tasks that may still be claimed for the threads now."""
        followers = self.followers
        return self.placement.recycling.left(min(followers.most_claimed(), self.threads.room(followers.ahead())))

    def ask_for_wake(self) -> None:
        """Have the loop woken when another claim for the threads is worth a statement."""
        threads, followers = self.threads, self.followers
        if followers.ahead():
            followers.wake_when(threads.least() - threads.pool.outstanding())
        threads.ask_for_wake()

    def accept(self, task: ClaimedTask) -> bool:
        """Take a task that was handed over, if there is room now.

        The caller has the watch begin, as soon as the thread that runs the task has begun.
        """
        if not self.may_claim() or self.quarantine.runs_alone or self.claims.paused.stops(task):
            return False
        # One that holds nothing has room, unless it has taken all of its tasks.
        if not (self.room() if self.held else self.placement.recycling.left(1)):
            return False
        self.placement.put([task], self.threads.pool)
        return True

    def was_told_now(self) -> None:
        """Note that only this worker has just been told of a task: of the calls that follow at once, it hears nothing."""
        self.told, self.told_at, self.told_alone = True, time.monotonic(), True

    def look(self, connection: BaseDatabaseWrapper, room: int = 0) -> None:
        """Find the lanes that hold work, sometimes also while known ones have enough: others may be urgent.

        :param room: of the threads before they got something in this turn. Otherwise ready tasks would keep out those that
            wait at a rate, however urgent these are.
        """
        began = time.monotonic()
        alone = self.news.was_told
        if alone or self.news.was_told_of_one:
            self.told, self.told_at, self.told_alone = True, began, alone
        called = self.news.take_word()
        # One that was told has to know whether there is more. Else, lanes that keep it busy may have many dead entries.
        sure = () if self.told else self.threads.lanes.sure
        lanes, suspected, marked, _, due = self.claims.find_lanes(connection, sure)
        if marked and self.gates.admit(connection, self._rooms(room)):
            lanes, suspected, _, _, due = self.claims.find_lanes(connection)
        if self.claims.paused.take_addition():
            self.placement.release_waiting()  # Some may be paused; the others are claimed again.
        for intake in (self.threads, *self.others.values()):
            intake.lanes.found(lanes)
        self.quarantine.found(
            lane for lane in suspected if self._is_crowded(lane.executor) and self.serves(lane.executor, lane.queue)
        )
        if called and not all(self.serves(lane.executor, lane.queue) for lane in lanes):
            self.news.pass_on()  # The caller may have notified this worker only.
        elif self.told and self._is_too_much(lanes, began):
            self.told = False
            if self.told_alone:
                self.news.pass_on()
            else:
                self.news.pass_on_one()
        self.looks.took(began, time.monotonic(), due)

    def follow(self, connection: BaseDatabaseWrapper, held: Sequence[ClaimedTask] = ()) -> None:
        """Claim followers of short tasks that have slots here, and release those that wait for nothing.

        :param held: those that have just got their slots.
        """
        if self.quarantine.is_on():
            self.placement.release(self.followers.take_back())
            return
        if self.followers:
            self.placement.release(self.followers.take_back(time.monotonic()))
        wanted, queues = self.followers.wanted(self.threads.ahead(), held)
        number = sum(each.number for each in wanted)
        if not number or not self.may_claim() or self.placement.recycling.left(number) < number:
            return
        served = [queue for queue in queues if self.serves(THREAD, queue)]
        try:
            self.placement.keep(wanted, self.claims.follow(connection, wanted, served))
        except DatabaseError as error:
            if is_outage(error):
                raise
            self.followers.rest(REST)
            logger.error("Limited tasks are claimed one by one for a while: %s", one_line(describe(error)))

    def _take_for_threads(self, connection: BaseDatabaseWrapper) -> Prospect:
        if self.placement.recycling.is_used_up():
            return Prospect.NO_ROOM
        if not self.may_claim():
            return Prospect.LOCKED
        if self._is_in_quarantine(connection) or not (room := self.room()):
            return Prospect.NO_ROOM
        lanes, look_at, claimed = self.threads.lanes, self._time_to_look(), 0
        if lanes and self.hopeful:
            # A few tasks are claimed at once: only a backlog is worth a turn.
            if lanes.sure and not self.claims.turns.begin(min(room, LARGEST_CLAIM)):
                return Prospect.TURN
            claimed = self._claim(self.threads, connection, room, unbounded=False)
        self.hopeful = True
        if claimed < room or time.monotonic() >= look_at:
            self.look(connection, room)
        if claimed == room:
            return Prospect.MORE
        # Fewer than asked for: there may be unknown lanes, or rows below the lower bounds.
        if lanes.busy and not claimed:
            claimed = self._claim(self.threads, connection, room, unbounded=True)
        if lanes.busy:
            return Prospect.MORE if claimed else Prospect.LOCKED
        return Prospect.NOTHING

    def _take_into(self, intake: Intake, connection: BaseDatabaseWrapper) -> Prospect:
        if not intake.has_work() or not (room := self.placement.recycling.left(min(LARGEST_CLAIM, intake.room()))):
            return Prospect.NOTHING  # until the pool wakes the loop
        if any(self._claim(intake, connection, room, unbounded=unbounded) for unbounded in (False, True)):
            return Prospect.MORE
        self.look(connection)
        return Prospect.LOCKED if intake.has_work() else Prospect.NOTHING

    def _claim(self, intake: Intake, connection: BaseDatabaseWrapper, room: int, *, unbounded: bool) -> int:
        try:
            if intake.has_work():
                self.placement.recorder.get_ready()  # while this worker waits for the claim
            claimed = intake.claim(connection, room, self.burden.most_claimed(room), unbounded=unbounded)
        finally:
            self.claims.turns.end()  # Others need not wait until the tasks have their places and followers.
        if intake is self.threads and any(task.flow for task in claimed):
            self._place_in_slots(connection, claimed, more=len(claimed) == room)
        elif claimed:
            if intake is self.threads and self.followers.leads_many():
                # Perhaps the last slots are gone: then more may be claimed at a time.
                self.followers.hold((), len(claimed), more=len(claimed) == room)
            self._place(claimed, intake)
        return len(claimed)

    def _is_too_much(self, lanes: Sequence[Lane], began: float) -> bool:
        """Whether there is more than this worker takes now, which was told as one of several that are idle."""
        rooms = self._rooms(0)
        # Of calls in quick succession only the first one tells anybody: for a moment, the word is also that of the others.
        self.told = bool(lanes) or began < self.told_at + FIRST_SLEEP
        return any(not rooms.get(lane.executor) for lane in lanes)

    def _place(self, claimed: list[ClaimedTask], intake: Intake) -> None:
        self.idle.found_work()
        self.placement.place(claimed, intake.pool)

    def _place_in_slots(self, connection: BaseDatabaseWrapper, claimed: list[ClaimedTask], *, more: bool) -> None:
        """Place tasks of which some may have slots, and claim their followers before these begin: short ones end sooner.

        :param more: whether others may be ready.
        """
        self.held.unfinished.add(claimed)  # all of them: the claim is not over when those end that are placed first
        self._place([task for task in claimed if task.flow is None], self.threads)
        limited = [task for task in claimed if task.flow is not None]
        self.followers.hold(limited, len(claimed), more=more)
        try:
            self.follow(connection, limited)
        finally:
            self._place(limited, self.threads)

    def _ahead(self) -> list[AheadIntake]:
        return [self.threads, *(each for each in self.others.values() if isinstance(each, AheadIntake))]

    def _rooms(self, threads: int) -> dict[str, int]:
        others = {name: intake.free() for name, intake in self.others.items()}
        return {THREAD: max(threads, self.room()), **others}

    def _time_to_look(self) -> float:
        """Return when to look for new lanes; sooner if something has been enqueued since the last look."""
        return self.looks.next_at(notified=self.news.has_come())

    def _is_in_quarantine(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether a suspect keeps all other tasks from being claimed now."""
        quarantine = self.quarantine
        if not quarantine.is_on():
            return False
        if self.held:
            return quarantine.drains(time.monotonic())
        quarantine.end()  # Nothing is held, so the task that ran alone has finished.
        if quarantine.waits():
            self._claim_suspect(connection)
        return quarantine.runs_alone

    def _claim_suspect(self, connection: BaseDatabaseWrapper) -> None:
        executor, lanes = self.quarantine.lanes()
        suspect = self.claims.take(connection, lanes, per_lane=1, limit=1, which=claim.SUSPECT)
        if suspect:
            # In this order: as soon as a pool has it, it may finish, which calls end().
            self.quarantine.begin()
            self.placement.place(suspect, self.others.get(executor, self.threads).pool)
        self.look(connection)

    def _is_crowded(self, executor: str) -> bool:
        """Whether a crash there takes other tasks along; a child process runs only one."""
        intake = self.others.get(executor)
        return executor == THREAD or (executor != PROCESS and intake is not None and intake.pool.size > 0)
