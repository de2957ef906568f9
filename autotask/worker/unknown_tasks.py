"""Tasks that the code of this worker does not know: left to others for a while, and for longer each time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from autotask.texts.lines import one_line

logger = logging.getLogger("autotask.worker")

#: Seconds for which tasks of a name are left alone at first; each further time it is twice as long, up to the longest.
FIRST_WHILE = 2.0
LONGEST_WHILE = 60.0

#: No more names than these are remembered.
MOST_NAMES = 100


@dataclass(frozen=True, slots=True)
class _Stranger:
    until: float
    seconds: float


class UnknownTasks:
    """The names of the tasks that were given back because they are of other code than this worker's.

    It claims none that was given back so before, until the while is over: they are there for a newer worker the whole
    time, and do not go to and fro. Others of the same name may be of its own code, and are claimed as ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unknown_tasks: dict[str, _Stranger] = {}

    def met(self, name: str, why: str) -> None:
        """Note that a task was given back. Only the thread of the recorder calls this."""
        now, known = self._clock(), self._unknown_tasks.get(name)
        if known is not None and now < known.until:
            return
        seconds = FIRST_WHILE
        if known is not None and now < known.until + LONGEST_WHILE:
            seconds = min(2 * known.seconds, LONGEST_WHILE)
        others = [item for item in self._unknown_tasks.items() if item[0] != name]
        # A new dict, since another thread may be reading the old one.
        self._unknown_tasks = dict([*others, (name, _Stranger(now + seconds, seconds))][-MOST_NAMES:])
        logger.warning(
            "%s: %s; it is left for a newer worker, and this one will look at it again in %g s",
            name,
            one_line(why),
            seconds,
        )

    def names(self) -> list[str]:
        """Return the names of the tasks that are to be left alone now."""
        if not self._unknown_tasks:
            return []  # as nearly always
        now = self._clock()
        return [name for name, stranger in self._unknown_tasks.items() if now < stranger.until]
