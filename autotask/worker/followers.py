"""Followers: tasks that wait in a worker for the slots of other tasks that it runs."""

import functools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from autotask.flow import Flow, LimitGate
from autotask.store import claims, follow
from autotask.store.finish import Outcome
from autotask.store.follow import Wanted
from autotask.store.progress import Claim
from autotask.task import ClaimedTask, State
from autotask.worker.outcome import Lost, Released
from autotask.worker.slots_here import DEPTH, FEW_SLOTS, WORK, Chain, Gate, Times

#: The most followers that wait in a worker, with few slots and with many.
MOST = 400
MOST_WITH_MANY = 1600

#: The tasks to claim at a time with many slots, with their followers; and the least number of those that are not followers.
ROUND = 800
LEADERS = ROUND // (DEPTH + 1)

#: Seconds without a start after which the followers of a gate are released, with few slots and with many.
PATIENCE = 0.1
PATIENCE_WITH_MANY = 0.5

#: Gates that are remembered, though nothing of them runs here.
MOST_GATES = 2000

#: The outcomes that leave a slot to an heir.
_LEAVING = (State.DONE, State.ERROR, State.CANCELLED)


class Followers:
    """The tasks here that have slots, and the tasks that follow in these slots. Any thread may call this.

    At any time, no more functions of a gate run here than this worker's tasks have slots of it in the database: a follower
    begins only when a task that ran in a slot has ended, and the slot names that one until its outcome is recorded. The
    statement that records it gives the slot to the task that runs in it by then, the *heir*.

    With few slots, each gets new followers as long as others wait, and these take turns with all other tasks here. With many,
    as of a limit with many keys, each gets a few, once, and these begin one right after the other: so the slot changes its
    owner once in a statement, and is handed on to the queue of all after that, like any other.

    :param start: called with followers that may begin, by the thread in which their predecessor has run; and whether they
        begin before others that wait for a thread.
    :param wake: called when more should be claimed.
    :param threads: how many tasks can run at a time.
    """

    def __init__(self, start: Callable[[ClaimedTask, bool], None], wake: Callable[[], None], threads: int = 1) -> None:
        self._threads = threads
        self._start = start
        self._wake = wake
        self._lock = threading.Lock()
        self._gates: dict[str, Gate] = {}
        #: Those with slots or followers, as far as anybody has looked.
        self._busy: dict[str, Gate] = {}
        #: By the bases of limits.
        self._times: dict[str, Times] = {}
        #: By the fences of all tasks that have run in their slots, until their claims are over.
        self._chains: dict[int, Chain] = {}
        self._slots = 0
        self._waiting = 0
        self._leads_many = False
        #: With many slots: the size of the last claim, until its followers are here; and how many tasks come for one of a claim.
        self._claimed = 0.0
        self._each = 1.0 + DEPTH
        self._wake_at = -1
        self._rests_until = float("-inf")

    def __bool__(self) -> bool:
        """Whether followers wait."""
        return self._waiting > 0

    # --- called by the loop -----------------------------------------------------------------------------------------

    def hold(self, tasks: Sequence[ClaimedTask], claimed: int = 0, *, more: bool = False) -> None:
        """Note that claimed tasks have their slots, before they begin.

        One that should be cancelled may have none: after a failed attempt it is ready at once, and has passed no gate.

        :param claimed: how many were claimed together with these, and with tasks that have no slots.
        :param more: whether others may be ready: the next claim may have as many slots again.
        """
        with self._lock:
            for task in tasks:
                if task.flow is None or task.cancel_requested:
                    continue
                if (limit := _only_limit(task.flow)) is not None:
                    gate = self._gate(limit)
                    gate.queues.add(task.queue)
                    gate.flow = task.flow
                    gate.slots += 1
                    self._slots += 1
                    self._chains[task.fence] = Chain(gate, task, task.fence)
            self._leads_many = self._slots > FEW_SLOTS or (self._leads_many and more)
            self._claimed = claimed
            if not self._leads_many:
                self._each = 1.0 + DEPTH
            elif not any(task.flow for task in tasks):
                self._come(0)

    def most_claimed(self) -> int:
        """Return the most tasks to claim at a time; with many slots, so few that they are a round together with their followers."""
        most = max(LEADERS, int(ROUND / self._each)) if self._leads_many else claims.MOST
        return min(most, claims.MOST)

    def leads_many(self) -> bool:
        """Whether many slots were in use here when the last ones came, so that their followers count as tasks that wait."""
        return self._leads_many

    def ahead(self) -> int:
        """Return the number of waiting followers that nobody will replace: with few slots, they are no reason to claim less."""
        return self._waiting if self._leads_many else 0

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken once when no more than *waiting* followers wait; −1 asks for nothing."""
        self._wake_at = waiting

    def wanted(self, most: int = MOST_WITH_MANY, held: Iterable[ClaimedTask] = ()) -> tuple[list[Wanted], set[str]]:
        """Return the gates at which to claim followers, how many at each, and the queues to take them from.

        :param most: the most followers where many slots are in use.
        :param held: the tasks that have just got their slots: with many slots in use, the others get no further followers.
        """
        if not self._slots or time.monotonic() < self._rests_until:
            self._come(0)
            return [], set()
        wanted, queues = [], set()
        with self._lock:
            if self._leads_many:
                left = min(follow.MOST, min(most, MOST_WITH_MANY) - self._waiting)
                gates = self._with_leaders(held)
            else:
                left, gates = MOST - self._waiting, self._look()
            for place, (key, gate) in enumerate(gates.items()):
                if left <= 0:
                    self._claimed *= place / len(gates)  # The others are not asked.
                    break
                if (number := min(left, gate.wants_with_many() if self._leads_many else gate.wants())) > 0:
                    wanted.append(Wanted(key, number, gate.limit.most, gate.flow))
                    queues |= gate.queues
                    left -= number
            if not wanted:
                self._come(0)
        return wanted, queues

    def add(self, wanted: Iterable[Wanted], found: Mapping[str, Sequence[ClaimedTask]]) -> None:
        """Let claimed followers wait for slots of their gates."""
        with self._lock:
            for each in wanted:
                gate, tasks = self._gates[each.gate], found[each.gate]
                gate.waited = len(tasks) == each.number
                gate.started_at = time.monotonic()
                gate.waiting += tasks
                self._waiting += len(tasks)
            self._come(sum(map(len, found.values())))

    def lose_all(self) -> None:
        """Note that all tasks may have lost their slots: this worker has a new name."""
        with self._lock:
            for chain in self._chains.values():
                chain.is_open = False

    def rest(self, seconds: float) -> None:
        """Claim no followers for a while."""
        self._rests_until = time.monotonic() + seconds

    def take_back(self, now: float | None = None) -> list[ClaimedTask]:
        """Return the followers that wait, and forget them.

        :param now: only those of gates at which none has begun for long, and with many slots in use those that are left without
            one; None: all.
        """
        taken: list[ClaimedTask] = []
        with self._lock:
            patience = PATIENCE_WITH_MANY if self._leads_many else PATIENCE
            for gate in self._look().values():
                is_left = self._leads_many and not gate.slots
                if not gate.waiting or (now is not None and not is_left and now - gate.started_at < patience):
                    continue
                if now is not None and not is_left:
                    gate.times.measure(now - gate.started_at)
                gate.waited = False
                taken += gate.waiting
                gate.waiting.clear()
            self._waiting -= len(taken)
        return taken

    # --- called by the pools ----------------------------------------------------------------------------------------

    def ended(self, task: ClaimedTask, ended: Outcome | Released | Lost) -> None:
        """Note that a task has ended, before its outcome is recorded; let an heir begin in its slot if one waits."""
        chain = self._chains.get(task.fence)
        if chain is None:
            return
        with self._lock:
            if chain.runner is None or chain.runner.fence != task.fence:
                return  # It has been put again.
            gate = chain.gate
            leaves = isinstance(ended, Outcome) and ended.state in _LEAVING and not ended.recorded
            if isinstance(ended, Outcome):
                gate.times.measure(ended.seconds)
                leaves = leaves and (ended.seconds < WORK or not self._leads_many)
            if not (leaves and chain.is_open and gate.waiting and self._is_served(gate)):
                chain.runner, chain.is_open = None, False
                gate.slots -= 1
                self._slots -= 1
                if gate.waiting and not gate.slots:
                    self._wake()  # They may be for another worker.
                return
            heir = chain.runner = gate.waiting.popleft()
            self._waiting -= 1
            self._chains[heir.fence] = chain
            gate.started_at = time.monotonic()
            at_once, chain.at_once = chain.at_once > 0, chain.at_once - 1
            self._start(heir, at_once)
            is_low = len(gate.waiting) == gate.low or self._waiting <= self._wake_at
            if is_low:
                self._wake_at = -1
        if is_low:
            self._wake()

    # --- called by the recorder -------------------------------------------------------------------------------------

    def heirs(self, tasks: Iterable[ClaimedTask]) -> dict[int, Claim]:
        """Return the claims that run in the slots of tasks that have ended, by the fences of these.

        Of the tasks of a chain, one has the slot in the database: each has the same heir.
        """
        if not self._chains:
            return {}
        heirs: dict[int, Claim] = {}
        with self._lock:
            for task in tasks:
                chain = self._chains.get(task.fence)
                if chain is not None and (runner := chain.runner) is not None and runner.fence != task.fence:
                    heirs[task.fence] = runner.id, runner.fence
        return heirs

    def recorded(self, heirs: Mapping[int, Claim], inherited: Collection[object], gates: Iterable[str]) -> None:
        """Note what the statement that has recorded outcomes did with their slots.

        :param heirs: what :meth:`heirs` has returned.
        :param inherited: the ids of those that have got a slot.
        :param gates: at which others were waiting, that have got a slot.
        """
        with self._lock:
            for fence, (id, heir) in heirs.items():
                chain = self._chains.get(fence)
                if chain is not None and chain.holder == fence:
                    if id in inherited:
                        chain.holder = heir
                    else:
                        chain.is_open = False  # The slot is gone.
            for key in gates:
                if (gate := self._gates.get(key)) is not None:
                    gate.waited = True

    def lose(self, tasks: Iterable[ClaimedTask]) -> None:
        """Note that tasks may have lost their slots: nobody else begins in these."""
        with self._lock:
            for task in tasks:
                if (chain := self._chains.get(task.fence)) is not None:
                    chain.is_open = False

    def forget(self, tasks: Iterable[ClaimedTask]) -> None:
        """Forget tasks whose claims are over."""
        if self._chains:
            with self._lock:
                for task in tasks:
                    self._chains.pop(task.fence, None)

    def _is_served(self, gate: Gate) -> bool:
        """Whether a follower would run at once, or nearly so: otherwise another worker may be free for it."""
        return gate.times.are_usually_very_short() if self._leads_many else gate.is_served_by(self._threads)

    def _come(self, followers: int) -> None:
        """Note how many followers have come with the last claim."""
        if self._claimed:
            self._each = (self._each + 1 + followers / self._claimed) / 2
            self._claimed = 0

    def _with_leaders(self, held: Iterable[ClaimedTask]) -> dict[str, Gate]:
        """Return the gates of tasks that have just got their slots, whose followers begin one right after the other."""
        gates = {}
        for task in held:
            if (chain := self._chains.get(task.fence)) is not None:
                chain.at_once = DEPTH
                gates[chain.gate.limit.key] = chain.gate
        return gates

    def _look(self) -> dict[str, Gate]:
        """Return the gates with slots or followers here."""
        self._busy = {key: gate for key, gate in self._busy.items() if gate.slots or gate.waiting}
        return self._busy

    def _gate(self, limit: LimitGate) -> Gate:
        if (gate := self._gates.get(limit.key)) is None:
            if len(self._gates) >= MOST_GATES:
                self._gates = dict(self._look())
            if (times := self._times.get(limit.base)) is None:
                times = self._times[limit.base] = Times()
            gate = self._gates[limit.key] = Gate(limit, times)
        self._busy[limit.key] = gate
        return gate


def no_followers() -> Followers:
    """Return those of workers that claim none."""
    return Followers(lambda task, at_once: None, lambda: None)


@functools.lru_cache(2000)
def _only_limit(flow: str) -> LimitGate | None:
    """Return the only gate of a flow if it is a limit for whose slots tasks wait; else None."""
    gates = Flow.load(flow).gates
    gate = gates[0] if len(gates) == 1 else None
    return gate if isinstance(gate, LimitGate) and gate.when_full == "wait" else None
