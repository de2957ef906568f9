"""The pauses as this worker knows them, from its last look for work."""

from collections.abc import Sequence

from autotask.store.pauses import Kind
from autotask.task import ClaimedTask


class Paused:
    """The pauses that are in force. The loop notes them; any thread may read them.

    :ivar names: of paused tasks.
    :ivar limits: whether a limit is paused.
    """

    def __init__(self) -> None:
        self.names: Sequence[str] = ()
        self.limits = False
        self._everything = False
        self._queues: frozenset[str] = frozenset()
        self._found: frozenset[tuple[str, str]] = frozenset()
        self._has_grown = False

    def __bool__(self) -> bool:
        """Whether there are tasks that must not begin, whatever their gates are."""
        return self._everything or bool(self._queues) or bool(self.names)

    def note(self, found: frozenset[tuple[str, str]]) -> bool:
        """Note the kind and name of each pause; return whether anything has changed."""
        if found == self._found:
            return False  # as nearly always
        self._has_grown = self._has_grown or not found <= self._found
        self._found = found
        self._everything = any(kind == Kind.EVERYTHING for kind, _ in found)
        self.limits = any(kind == Kind.LIMIT for kind, _ in found)
        self._queues = frozenset(name for kind, name in found if kind == Kind.QUEUE)
        self.names = sorted(name for kind, name in found if kind == Kind.TASK)
        return True

    def take_addition(self) -> bool:
        """Return whether anything was paused since this was asked last."""
        has_grown, self._has_grown = self._has_grown, False
        return has_grown

    def bars(self, queue: str) -> bool:
        """Whether nothing of a queue may begin."""
        return self._everything or queue in self._queues

    def stops(self, task: ClaimedTask) -> bool:
        """Whether a task must not begin."""
        return self.bars(task.queue) or task.name in self.names
