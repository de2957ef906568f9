"""Unknown tasks: this worker leaves them to others for a while, longer each time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from autotask.texts.lines import one_line

logger = logging.getLogger("autotask.worker")

#: Seconds for which tasks of a name are left alone at first; twice as long each further time, up to the longest.
FIRST_WHILE = 2.0
LONGEST_WHILE = 60.0

#: The most names that are remembered.
MOST_NAMES = 100


@dataclass(frozen=True, slots=True)
class _Unknown:
    until: float
    seconds: float


class UnknownTasks:
    """The names of unknown tasks that were released.

    For a while, this worker claims none of these names that was released as unknown before, so that such tasks are there
    for a newer worker all the time. Others of the same name may fit its own code, and are claimed as usual.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unknown_tasks: dict[str, _Unknown] = {}

    def met(self, name: str, why: str) -> None:
        """Note that an unknown task is released. Only the recorder's thread calls this."""
        now, known = self._clock(), self._unknown_tasks.get(name)
        if known is not None and now < known.until:
            return
        seconds = FIRST_WHILE
        if known is not None and now < known.until + LONGEST_WHILE:
            seconds = min(2 * known.seconds, LONGEST_WHILE)
        others = [item for item in self._unknown_tasks.items() if item[0] != name]
        # A new dict, since another thread may be reading the old one.
        self._unknown_tasks = dict([*others, (name, _Unknown(now + seconds, seconds))][-MOST_NAMES:])
        logger.warning(
            "%s: %s. It is left for a newer worker, and this one will try it again in %g s",
            name,
            one_line(why).rstrip("."),
            seconds,
        )

    def names(self) -> list[str]:
        """Return the names to leave alone now."""
        if not self._unknown_tasks:
            return []  # as nearly always
        now = self._clock()
        return [name for name, unknown in self._unknown_tasks.items() if now < unknown.until]

    def were_met_lately(self) -> bool:
        """Whether there was one a while ago, so that the next call may be unknown, too."""
        now = self._clock()
        return any(now < unknown.until + LONGEST_WHILE for unknown in self._unknown_tasks.values())
