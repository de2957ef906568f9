"""What the loop claims in one turn."""

import enum
import time
from collections.abc import Callable, Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim
from autotask.task import PROCESS, THREAD, ClaimedTask
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.intake import Intake, ThreadIntake
from autotask.worker.claiming.placement import Placement
from autotask.worker.claiming.quarantine import Quarantine
from autotask.worker.held import HeldTasks
from autotask.worker.idle import IdleSleep
from autotask.worker.lanes import Looks
from autotask.worker.news import News
from autotask.worker.recorder import Recorder
from autotask.worker.registration import Registration

#: Tasks taken by one claim at most. Each claim is a commit and has to be planned, which a hundred already share well; with
#: many more the planner takes to reading the whole table.
LARGEST_CLAIM = 200

#: Tasks whose outcome is not recorded yet, beyond which nothing more is claimed.
MOST_HELD = 2000


class Look(enum.Enum):
    """What a look for work has shown."""

    MORE = "there may be more to claim at once"
    NOTHING = "there is nothing more for this worker now"
    LOCKED = "there is more, but others are at it just now"
    NO_ROOM = "there may be more, but no room for it"


class Claimer:
    """When this worker has last looked for work, and what it may claim. Only the loop calls this.

    :param beside: the intakes of the pools beside the threads.
    :param serves: whether an executor and a queue are served now.
    :ivar hopeful: whether there is a reason to claim before having looked: nobody has woken an idle worker for nothing. Any
        thread may set it to False.
    """

    def __init__(
        self,
        registration: Registration,
        held: HeldTasks,
        recorder: Recorder,
        news: News,
        idle: IdleSleep,
        claims: Claims,
        quarantine: Quarantine,
        placement: Placement,
        threads: ThreadIntake,
        beside: Mapping[str, Intake],
        serves: Callable[[str, str], bool],
    ) -> None:
        self.hopeful = True
        self._registration = registration
        self._held = held
        self._burden = recorder.burden
        self._news = news
        self._idle = idle
        self._claims = claims
        self._quarantine = quarantine
        self._placement = placement
        self._wear = placement.wear
        self._threads = threads
        self._beside = beside
        self._serves = serves
        # Where a task that crashes takes others along; a child process runs one only.
        self._crowded = {THREAD} | {name for name, each in beside.items() if name != PROCESS and each.pool.size}
        self._looks = Looks()

    def take(self, connection: BaseDatabaseWrapper) -> Look:
        """Claim what fits into each pool; return what to expect of another look."""
        look = self._take_for_threads(connection)
        if not self.may_claim() or self._quarantine.bars_others(time.monotonic()):
            return look
        if look is Look.NO_ROOM and time.monotonic() >= self._time_to_look():
            self.look(connection)  # The threads have not looked; they are busy.
        looks = {look, *(self._take_into(intake, connection) for intake in self._beside.values())}
        return next((best for best in (Look.MORE, Look.LOCKED, Look.NO_ROOM) if best in looks), Look.NOTHING)

    def may_claim(self) -> bool:
        """Whether this worker may hold more.

        What is claimed under a doubtful lease would only have to be given back; and while outcomes cannot be recorded, there
        must not be ever more of them.
        """
        return self._registration.is_fresh() and len(self._held) <= MOST_HELD and self._burden.is_bearable()

    def room(self) -> int:
        """Return how many more tasks may be claimed for the threads now."""
        return self._wear.left(min(LARGEST_CLAIM, self._threads.room()))

    def accept(self, task: ClaimedTask) -> bool:
        """Take in a task that was handed over, if there is room for it now."""
        if not self.may_claim() or self._quarantine.runs_alone or not self.room():
            return False
        self._place([task], self._threads)
        return True

    def look(self, connection: BaseDatabaseWrapper) -> None:
        """Find the lanes that hold work, from time to time also while known ones have enough: others may be urgent."""
        began = time.monotonic()
        called = self._news.take_word()
        self._held.forget_requests()
        lanes, suspected = self._claims.find_lanes(connection)
        for intake in (self._threads, *self._beside.values()):
            intake.lanes.found(lanes)
        self._quarantine.found(
            lane for lane in suspected if lane.executor in self._crowded and self._serves(lane.executor, lane.queue)
        )
        if called and not all(self._serves(lane.executor, lane.queue) for lane in lanes):
            self._news.pass_on()  # The caller may have told this worker only, and it is for others.
        self._looks.took(began, time.monotonic())

    def _take_for_threads(self, connection: BaseDatabaseWrapper) -> Look:
        if self._wear.is_used_up():
            return Look.NO_ROOM
        if not self.may_claim():
            return Look.LOCKED
        if self._is_in_quarantine(connection) or not (room := self.room()):
            return Look.NO_ROOM
        lanes, look_at = self._threads.lanes, self._time_to_look()
        claimed = self._claim(self._threads, connection, room, unbounded=False) if lanes and self.hopeful else 0
        self.hopeful = True
        if claimed < room or time.monotonic() >= look_at:
            self.look(connection)
        if claimed == room:
            return Look.MORE
        # Fewer than asked for: there may be lanes that were not known, or rows below the lower bounds.
        if lanes.busy and not claimed:
            claimed = self._claim(self._threads, connection, room, unbounded=True)
        if lanes.busy:
            return Look.MORE if claimed else Look.LOCKED
        return Look.NOTHING

    def _take_into(self, intake: Intake, connection: BaseDatabaseWrapper) -> Look:
        if not intake.has_work() or not (room := self._wear.left(min(LARGEST_CLAIM, intake.room()))):
            return Look.NOTHING  # until the pool wakes the loop
        if any(self._claim(intake, connection, room, unbounded=unbounded) for unbounded in (False, True)):
            return Look.MORE
        self.look(connection)
        return Look.LOCKED if intake.has_work() else Look.NOTHING

    def _claim(self, intake: Intake, connection: BaseDatabaseWrapper, room: int, *, unbounded: bool) -> int:
        claimed = intake.claim(connection, room, self._burden.most_claimed(room), unbounded=unbounded)
        if claimed:
            self._place(claimed, intake)
        return len(claimed)

    def _place(self, claimed: list[ClaimedTask], intake: Intake) -> None:
        self._idle.found_work()
        self._placement.place(claimed, intake.pool)

    def _time_to_look(self) -> float:
        """Return when to look for lanes that are not known; sooner if something has been enqueued since the last look."""
        return self._looks.next_at(told=self._news.has_come())

    def _is_in_quarantine(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether nothing else may be claimed now, because of a suspect."""
        quarantine = self._quarantine
        if not quarantine.is_on():
            return False
        if self._held:
            return quarantine.drains(time.monotonic())
        quarantine.end()  # Nothing is held, so whatever ran alone has ended.
        if quarantine.waits():
            self._claim_suspect(connection)
        return quarantine.runs_alone

    def _claim_suspect(self, connection: BaseDatabaseWrapper) -> None:
        executor, lanes = self._quarantine.lanes()
        suspect = self._claims.take(connection, lanes, per_lane=1, limit=1, which=claim.SUSPECT)
        if suspect:
            # In this order: as soon as a pool has it, it may end, which ends its being alone.
            self._quarantine.begin()
            self._placement.place(suspect, self._beside.get(executor, self._threads).pool)
        self.look(connection)
