"""What the loop claims in one turn."""

import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim
from autotask.task import PROCESS, THREAD, ClaimedTask
from autotask.worker.burden import Burden
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.intake import Intake, ThreadIntake
from autotask.worker.claiming.placement import Placement
from autotask.worker.claiming.quarantine import Quarantine
from autotask.worker.held import HeldTasks
from autotask.worker.idle import IdleSleep
from autotask.worker.lanes import LookTimes
from autotask.worker.news import News
from autotask.worker.registration import Registration

#: Tasks taken by one claim at most. Each claim is a commit and has to be planned, which a hundred already share well; with
#: many more the planner takes to reading the whole table.
LARGEST_CLAIM = 200

#: Tasks whose outcome is not recorded yet, beyond which nothing more is claimed.
MOST_HELD = 2000


class Prospect(enum.Enum):
    """What a look for work has shown."""

    MORE = "there may be more to claim at once"
    NOTHING = "there is nothing more for this worker now"
    LOCKED = "there is more, but others are at it just now"
    NO_ROOM = "there may be more, but no room for it"


@dataclass(eq=False, slots=True)
class Claimer:
    """When this worker has last looked for work, and what it may claim. Only the loop calls this.

    :param beside: the intakes of the pools beside the threads.
    :param serves: whether an executor and a queue are served now.
    :ivar hopeful: whether there is a reason to claim before having looked: nobody has woken an idle worker for nothing. Any
        thread may set it to False.
    """

    registration: Registration
    held: HeldTasks
    burden: Burden
    news: News
    claims: Claims
    placement: Placement
    threads: ThreadIntake
    beside: Mapping[str, Intake]
    serves: Callable[[str, str], bool]
    idle: IdleSleep = field(default_factory=IdleSleep, init=False)
    quarantine: Quarantine = field(default_factory=Quarantine, init=False)
    looks: LookTimes = field(default_factory=LookTimes, init=False)
    hopeful: bool = field(default=True, init=False)

    def take(self, connection: BaseDatabaseWrapper) -> Prospect:
        """Claim what fits into each pool; return what to expect of another look."""
        look = self._take_for_threads(connection)
        if not self.may_claim() or self.quarantine.bars_others(time.monotonic()):
            return look
        if look is Prospect.NO_ROOM and time.monotonic() >= self._time_to_look():
            self.look(connection)  # The threads have not looked; they are busy.
        looks = {look, *(self._take_into(intake, connection) for intake in self.beside.values())}
        return next(
            (best for best in (Prospect.MORE, Prospect.LOCKED, Prospect.NO_ROOM) if best in looks), Prospect.NOTHING
        )

    def may_claim(self) -> bool:
        """Whether this worker may hold more.

        What is claimed under a doubtful lease would only have to be given back; and while outcomes cannot be recorded, there
        must not be ever more of them.
        """
        return self.registration.is_fresh() and len(self.held) <= MOST_HELD and self.burden.is_bearable()

    def room(self) -> int:
        """Return how many more tasks may be claimed for the threads now."""
        return self.placement.recycling.left(min(LARGEST_CLAIM, self.threads.room()))

    def accept(self, task: ClaimedTask) -> bool:
        """Take in a task that was handed over, if there is room for it now."""
        if not self.may_claim() or self.quarantine.runs_alone or not self.room():
            return False
        self._place([task], self.threads)
        return True

    def look(self, connection: BaseDatabaseWrapper) -> None:
        """Find the lanes that hold work, from time to time also while known ones have enough: others may be urgent."""
        began = time.monotonic()
        called = self.news.take_word()
        self.held.forget_requests()
        lanes, suspected = self.claims.find_lanes(connection)
        for intake in (self.threads, *self.beside.values()):
            intake.lanes.found(lanes)
        self.quarantine.found(
            lane for lane in suspected if self._is_crowded(lane.executor) and self.serves(lane.executor, lane.queue)
        )
        if called and not all(self.serves(lane.executor, lane.queue) for lane in lanes):
            self.news.pass_on()  # The caller may have told this worker only, and it is for others.
        self.looks.took(began, time.monotonic())

    def _take_for_threads(self, connection: BaseDatabaseWrapper) -> Prospect:
        if self.placement.recycling.is_used_up():
            return Prospect.NO_ROOM
        if not self.may_claim():
            return Prospect.LOCKED
        if self._is_in_quarantine(connection) or not (room := self.room()):
            return Prospect.NO_ROOM
        lanes, look_at = self.threads.lanes, self._time_to_look()
        claimed = self._claim(self.threads, connection, room, unbounded=False) if lanes and self.hopeful else 0
        self.hopeful = True
        if claimed < room or time.monotonic() >= look_at:
            self.look(connection)
        if claimed == room:
            return Prospect.MORE
        # Fewer than asked for: there may be lanes that were not known, or rows below the lower bounds.
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
        claimed = intake.claim(connection, room, self.burden.most_claimed(room), unbounded=unbounded)
        if claimed:
            self._place(claimed, intake)
        return len(claimed)

    def _place(self, claimed: list[ClaimedTask], intake: Intake) -> None:
        self.idle.found_work()
        self.placement.place(claimed, intake.pool)

    def _time_to_look(self) -> float:
        """Return when to look for lanes that are not known; sooner if something has been enqueued since the last look."""
        return self.looks.next_at(told=self.news.has_come())

    def _is_in_quarantine(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether nothing else may be claimed now, because of a suspect."""
        quarantine = self.quarantine
        if not quarantine.is_on():
            return False
        if self.held:
            return quarantine.drains(time.monotonic())
        quarantine.end()  # Nothing is held, so whatever ran alone has ended.
        if quarantine.waits():
            self._claim_suspect(connection)
        return quarantine.runs_alone

    def _claim_suspect(self, connection: BaseDatabaseWrapper) -> None:
        executor, lanes = self.quarantine.lanes()
        suspect = self.claims.take(connection, lanes, per_lane=1, limit=1, which=claim.SUSPECT)
        if suspect:
            # In this order: as soon as a pool has it, it may end, which ends its being alone.
            self.quarantine.begin()
            self.placement.place(suspect, self.beside.get(executor, self.threads).pool)
        self.look(connection)

    def _is_crowded(self, executor: str) -> bool:
        """Whether a task that crashes takes others along; a child process runs one only."""
        intake = self.beside.get(executor)
        return executor == THREAD or (executor != PROCESS and intake is not None and intake.pool.size > 0)
