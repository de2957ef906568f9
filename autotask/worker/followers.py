"""Followers: tasks that wait in a worker for the slots of other tasks that it runs."""

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autotask.flow import Flow, LimitGate
from autotask.store.finish import Outcome
from autotask.store.follow import Wanted
from autotask.store.progress import Claim
from autotask.task import ClaimedTask, State
from autotask.worker.outcome import Lost, Released

#: Seconds. Longer tasks get no followers: they are worth a statement of their own, and other workers may be free.
SHORT = 0.005

#: Seconds. If there are more slots than threads, only such tasks keep the rest: others leave it to other workers.
VERY_SHORT = 0.0005

#: Seconds of work that wait behind each slot, and the most followers there.
WORK = 0.02
MOST_EACH = 40

#: Slots in use here, of all gates. With more, tasks are claimed and recorded many at a time anyway.
FEW_SLOTS = 50

#: The most followers that wait in a worker.
MOST = 400

#: Seconds without a start after which the followers of a gate are released.
PATIENCE = 0.1

#: Gates that are remembered, though nothing of them runs here.
MOST_GATES = 1000

#: The outcomes that leave a slot to an heir.
_LEAVING = (State.DONE, State.ERROR, State.CANCELLED)


@dataclass(eq=False, slots=True)
class _Gate:
    """What this worker knows of a gate.

    :ivar slots: how many tasks here run in slots of their own.
    :ivar seconds: how long the last tasks took; None: none has ended.
    :ivar waited: whether the last look has found tasks that wait at the gate.
    :ivar started_at: when the last follower has come or has begun.
    :ivar low: the number of waiting followers at which more are claimed.
    """

    limit: LimitGate
    queues: set[str] = field(default_factory=set)
    waiting: deque[ClaimedTask] = field(default_factory=deque)
    slots: int = 0
    seconds: float | None = None
    waited: bool = False
    started_at: float = 0.0
    low: int = 0

    def measure(self, seconds: float) -> None:
        """Note how long a task took: a long one counts at once, short ones by and by."""
        former = self.seconds
        self.seconds = seconds if former is None else max(seconds, (former + seconds) / 2)

    def is_served_by(self, threads: int) -> bool:
        """Whether a task need not wait for a thread when it has a slot; very short ones do not wait for long."""
        return self.slots <= threads or self.seconds is None or self.seconds < VERY_SHORT

    def wants(self) -> int:
        """Return how many more followers to claim; set the number at which to ask again."""
        if not self.waited or not self.slots or self.seconds is None or self.seconds > SHORT:
            self.low = -1
            return 0
        enough = self.slots * min(MOST_EACH, int(WORK / max(self.seconds, 1e-6)))
        self.low = enough // 2
        return enough - len(self.waiting) if len(self.waiting) <= self.low else 0


@dataclass(eq=False, slots=True)
class _Chain:
    """The tasks that run in one slot, one after the other. The slot names the first whose outcome is not in the database.

    :ivar runner: the one that runs, or waits for a thread; None: all have ended.
    :ivar holder: the fence of the one that has the slot in the database, as far as this worker knows.
    :ivar is_open: whether the next one may begin when the runner ends.
    """

    gate: _Gate
    runner: ClaimedTask | None
    holder: int
    is_open: bool = True


class Followers:
    """Which tasks here have slots, and which tasks follow in these slots. Any thread may call this.

    At any time, no more functions of a gate run here than this worker's tasks have slots of it in the database: a follower
    begins only when a task that ran in a slot has ended, and the slot names that one until its outcome is recorded. The
    statement that records it gives the slot to the task that runs in it by then, the *heir*.

    :param start: called with followers that may begin, by the thread in which their predecessor has run.
    :param wake: called when more followers should be claimed.
    :param threads: how many tasks can run at a time.
    """

    def __init__(self, start: Callable[[ClaimedTask], None], wake: Callable[[], None], threads: int = 1) -> None:
        self._threads = threads
        self._start = start
        self._wake = wake
        self._lock = threading.Lock()
        self._gates: dict[str, _Gate] = {}
        #: By the fences of all tasks that have run in their slots, until their claims are over.
        self._chains: dict[int, _Chain] = {}
        self._slots = 0
        self._waiting = 0
        self._rests_until = float("-inf")

    def __bool__(self) -> bool:
        """Whether followers wait."""
        return self._waiting > 0

    # --- called by the loop -----------------------------------------------------------------------------------------

    def hold(self, tasks: Iterable[ClaimedTask]) -> None:
        """Note that claimed tasks have their slots, before they begin.

        One that is to be cancelled may have none: after a failed attempt it is ready at once, and has passed no gate.
        """
        with self._lock:
            for task in tasks:
                if task.flow is None or task.cancel_requested:
                    continue
                if (limit := _only_limit(task.flow)) is not None:
                    gate = self._gate(limit)
                    gate.queues.add(task.queue)
                    gate.slots += 1
                    self._slots += 1
                    self._chains[task.fence] = _Chain(gate, task, task.fence)

    def wanted(self) -> tuple[list[Wanted], set[str]]:
        """Return how many followers to claim at which gates, and from which queues."""
        if not 0 < self._slots <= FEW_SLOTS or time.monotonic() < self._rests_until:
            return [], set()
        wanted, queues = [], set()
        with self._lock:
            left = MOST - self._waiting
            for key, gate in self._gates.items():
                if (number := min(left, gate.wants())) > 0:
                    wanted.append(Wanted(key, number, gate.limit.most))
                    queues |= gate.queues
                    left -= number
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

        :param now: only those of gates at which none has begun for long; None: all.
        """
        taken: list[ClaimedTask] = []
        with self._lock:
            for gate in self._gates.values():
                if not gate.waiting or (now is not None and now - gate.started_at < PATIENCE):
                    continue
                if now is not None:
                    gate.measure(now - gate.started_at)
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
                gate.measure(ended.seconds)
            if not (leaves and chain.is_open and gate.waiting and gate.is_served_by(self._threads)):
                chain.runner, chain.is_open = None, False
                gate.slots -= 1
                self._slots -= 1
                return
            heir = chain.runner = gate.waiting.popleft()
            self._waiting -= 1
            self._chains[heir.fence] = chain
            gate.started_at = time.monotonic()
            self._start(heir)
            is_low = len(gate.waiting) == gate.low
        if is_low:
            self._wake()

    # --- called by the recorder -------------------------------------------------------------------------------------

    def heirs(self, tasks: Iterable[ClaimedTask]) -> dict[int, Claim]:
        """Return the claims that run in the slots of tasks that have ended, by the fences of these.

        Of the tasks of a chain, one has the slot in the database: each has the same heir.
        """
        if not self._chains:
            return {}
        with self._lock:
            chains = [(task.fence, self._chains.get(task.fence)) for task in tasks]
            return {
                fence: (chain.runner.id, chain.runner.fence)
                for fence, chain in chains
                if chain is not None and chain.runner is not None and chain.runner.fence != fence
            }

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

    def _gate(self, limit: LimitGate) -> _Gate:
        if (gate := self._gates.get(limit.key)) is None:
            if len(self._gates) >= MOST_GATES:
                self._gates = {key: gate for key, gate in self._gates.items() if gate.slots or gate.waiting}
            gate = self._gates[limit.key] = _Gate(limit)
        return gate


def no_followers() -> Followers:
    """Return those of whoever claims none."""
    return Followers(lambda task: None, lambda: None)


@functools.lru_cache(2000)
def _only_limit(flow: str) -> LimitGate | None:
    """Return the only gate of a flow if it is a limit for whose slots tasks wait; else None."""
    gates = Flow.load(flow).gates
    gate = gates[0] if len(gates) == 1 else None
    return gate if isinstance(gate, LimitGate) and gate.when_full == "wait" else None
