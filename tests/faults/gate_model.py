"""Gates in the model of the tables: the slots of limits, the marks, and who passes."""

import itertools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autotask.flow import LimitGate
from autotask.task import State

A = LimitGate("limit:a", "a", 1)
B = LimitGate("limit:b(k=1)", "b", 2)

#: The gates of the tasks in the model: none, one of either kind, and both.
CHOICES: tuple[tuple[LimitGate, ...], ...] = ((), (A,), (B,), (A, B))


@dataclass(frozen=True)
class Task:
    """A task in the model.

    :ivar turn: its place among the ready tasks, where a follower counts from its claim on.
    :ivar gates: that it has to pass.
    :ivar passed: how many of them it has passed; None without gates.
    """

    id: uuid.UUID
    state: State
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    fence: int | None = None
    worker: str | None = None
    cancel_requested: bool = False
    turn: int = 0
    gates: tuple[LimitGate, ...] = ()
    passed: int | None = None

    @property
    def gate(self) -> str | None:
        """The gate at which it waits."""
        if self.state is not State.HELD or self.passed is None:
            return None
        return self.gates[self.passed].key

    @property
    def follows(self) -> bool:
        """Whether it runs, or did so, without a slot: it waits in a worker for that of another task."""
        return self.passed is not None and self.passed < len(self.gates)

    @property
    def waits_again(self) -> bool:
        """Whether it waits at its gate again when it is put back. One that should be cancelled is ready, for a worker to record that."""
        return self.follows and not self.cancel_requested

    def waits(self, state: State) -> "Task":
        """Return it as it is when it has to pass its gates, or is ready if it has none."""
        passed = 0 if self.gates else None
        return replace(self, state=State.HELD if self.gates and state is State.READY else state, passed=passed)


Tasks = Mapping[uuid.UUID, Task]


@dataclass
class Gates:
    """The slots, with the task that has each or had it last, and what else decides who passes."""

    slots: dict[str, dict[int, tuple[uuid.UUID, int]]] = field(
        default_factory=lambda: {gate.key: {} for gate in (A, B)}
    )
    marks: set[str] = field(default_factory=set)
    paused: set[str] = field(default_factory=set)

    def mark(self, task: Task) -> None:
        """A task waits at a gate now, unless it has none."""
        if task.gate is not None:
            self.marks.add(task.gate)

    def freed(self, *tasks: Task) -> None:
        """Tasks have given up their slots, without handing them on."""
        self.marks |= {gate.key for task in tasks for gate in task.gates}

    def look(self, tasks: Tasks, line: Sequence[uuid.UUID]) -> list[Task]:
        """Look at the gates that are marked; return the tasks that pass, as they are after that.

        :param line: the held tasks in their order.
        """
        asked, self.marks = self.marks, set()
        through = []
        for gate in (A, B):
            waiting = self._waiting(tasks, line, gate) if gate.key in asked else []
            free = [number for number in range(1, gate.most + 1) if not self._is_taken(tasks, gate.key, number)]
            through += [self._give(gate.key, number, task) for number, task in zip(free, waiting, strict=False)]
        return through

    def hand_on(self, tasks: Tasks, line: Sequence[uuid.UUID], ended: Task) -> list[Task]:
        """A task ends: give its slot to the next one, or leave a mark; return what passes, as it is after that."""
        if not ended.passed:
            return []  # It has no gates, or was a follower that had no slot yet.
        if ended.passed > 1:
            self.freed(ended)
            return []
        (gate,) = ended.gates
        had = sorted(number for number, (id, _) in self.slots[gate.key].items() if id == ended.id)
        through = [
            self._give(gate.key, number, task)
            for number, task in zip(had, self._waiting(tasks, line, gate), strict=False)
        ]
        if len(through) != 1:
            self.marks.add(gate.key)
        return through

    def inherit(self, ended: Task, heir: Task) -> Task | None:
        """A task ends, and another one has begun in its slot; return that one as it is then, None if there was no slot."""
        (gate,) = ended.gates
        for number, (id, _) in self.slots[gate.key].items():
            if id == ended.id:
                return replace(self._give(gate.key, number, heir), state=heir.state)
        return None

    def followers(self, tasks: Tasks, line: Sequence[uuid.UUID], gate: LimitGate, number: int) -> list[Task]:
        """Return the first held tasks at a gate that may be claimed before they have slots, up to one that may not."""
        waiting = self._waiting(tasks, line, gate)[:number]
        return list(itertools.takewhile(lambda task: len(task.gates) == 1 and not task.lost, waiting))

    def doubled(self, tasks: Tasks) -> int:
        """Return how many slots are taken by a task that has another one of the same limit."""
        found = 0
        for gate, slots in self.slots.items():
            having = [id for number, (id, _) in slots.items() if self._is_taken(tasks, gate, number)]
            found += len(having) - len(set(having))
        return found

    def _waiting(self, tasks: Tasks, line: Sequence[uuid.UUID], gate: LimitGate) -> list[Task]:
        return [tasks[id] for id in line if tasks[id].gate == gate.key and gate.key not in self.paused]

    def _is_taken(self, tasks: Tasks, gate: str, number: int) -> bool:
        id, place = self.slots[gate].get(number, (None, 0))
        task = tasks.get(id) if id else None
        return task is not None and not task.state.ended and (task.passed or 0) >= place

    def _give(self, gate: str, number: int, task: Task) -> Task:
        passed = (task.passed or 0) + 1
        # Another one that it had before it came back is forgotten: otherwise it would have both.
        others = {other: holder for other, holder in self.slots[gate].items() if holder[0] != task.id}
        self.slots[gate] = others | {number: (task.id, passed)}
        state = State.READY if passed == len(task.gates) else State.HELD
        gone = replace(task, state=state, passed=passed)
        self.mark(gone)
        return gone
