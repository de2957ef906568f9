"""When a suspect may run: a task that has lost its worker and may have killed it."""

from collections.abc import Iterable

from autotask.store.claim import BoundedLane, Lane

#: Seconds for which nothing is claimed so that a suspect can run alone, and seconds between two such times.
DRAIN_FOR = 2.0
DRAIN_EVERY = 10.0


class Quarantine:
    """Whether a suspect waits, or runs alone. The loop calls this; the recorder calls :meth:`end`.

    A suspect is claimed alone, when nothing else is held, and nothing is claimed while it runs: if it kills again, no other
    task can be blamed. Running tasks get a moment to finish first. If one takes longer, the suspect is left for an idle
    worker, so that it does not hold up the others.

    :ivar runs_alone: whether a suspect runs.
    """

    def __init__(self) -> None:
        self.runs_alone = False
        self._suspected: list[Lane] = []
        self._drain_at = self._drain_until = float("-inf")

    def found(self, lanes: Iterable[Lane]) -> None:
        """Replace the known lanes by those that hold suspects now."""
        self._suspected = list(lanes)

    def is_on(self) -> bool:
        """Whether a suspect runs, or waits to be claimed."""
        return self.runs_alone or bool(self._suspected)

    def waits(self) -> bool:
        """Whether a suspect waits to be claimed."""
        return bool(self._suspected)

    def drains(self, now: float) -> bool:
        """Whether nothing may be claimed, while tasks are held, so that a suspect can run alone."""
        if now >= self._drain_at:
            self._drain_at, self._drain_until = now + DRAIN_EVERY, now + DRAIN_FOR
        return self.bars_others(now)

    def bars_others(self, now: float) -> bool:
        """Whether nothing but a suspect may be claimed."""
        return self.runs_alone or (bool(self._suspected) and now < self._drain_until)

    def lanes(self) -> tuple[str, list[BoundedLane]]:
        """Return the pool of the first suspect, and the lanes of that pool in which to look for one."""
        executor = self._suspected[0].executor
        return executor, [BoundedLane(lane, None) for lane in self._suspected if lane.executor == executor]

    def begin(self) -> None:
        """Note that a suspect is about to run."""
        self.runs_alone = True

    def end(self) -> None:
        """Note that nothing is held now."""
        self.runs_alone = False
