"""The number of bytes that a worker holds: arguments of claimed tasks, and outcomes that are not written yet."""

import threading
from collections.abc import Iterable

from autotask.conf import settings
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker.outcome import Advanced, Lost, Released

#: Bytes held, beyond which a worker claims nothing more.
MOST = 64 * 2**20

#: A worker may hold this many of the largest arguments or results, whatever their size. Otherwise it could not use its
#: threads once it has two of them.
LARGEST_HELD = 4

#: Bytes from which an outcome is counted: as many smaller ones as a worker may hold are a megabyte.
FEW = 500

#: The bytes of an envelope around pickled arguments, rounded up.
_ENVELOPE = 64


class Burden:
    """The bytes that a worker holds.

    The counters only grow, each by one thread, so that most tasks, those without a result, cost no lock.
    """

    def __init__(self) -> None:
        self._taken = self._let_go = 0
        self._put = self._written = 0
        self._putting = threading.Lock()
        self._put_before = 0
        self._per_task = 0.0

    # --- called by the loop -----------------------------------------------------------------------------------------

    def take(self, tasks: Iterable[ClaimedTask]) -> None:
        """Note that tasks were claimed."""
        self._taken += sum([len(task.payload) for task in tasks])

    def is_bearable(self) -> bool:
        """Whether more may be claimed."""
        held = self.held()
        return held <= MOST or held <= _most()

    def most_claimed(self, number: int) -> int | None:
        """Return the bytes of arguments that a claim of *number* tasks may bring; None if it cannot bring too many."""
        left = max(1, _most() - self.held())
        return left if number * (settings.MAX_PAYLOAD + _ENVELOPE) > left else None

    def most_ahead(self, ended: int) -> int | None:
        """Return the number of tasks that may wait for a free place, going by the size of the last results; None: any number.

        :param ended: how many tasks have finished since the last call.
        """
        put = self._put
        if put == self._put_before and not self._per_task:
            return None  # as in most workers, whose tasks return nothing
        if ended:
            mean = (put - self._put_before) / ended
            self._put_before = put
            self._per_task = max(mean, (self._per_task + mean) / 2) if mean + self._per_task >= 1 else 0.0
        return int((_most() - self.held()) / self._per_task) if self._per_task else None

    def held(self) -> int:
        """Return the bytes that are held now."""
        return self._taken - self._let_go + self._put - self._written

    # --- called by other threads ------------------------------------------------------------------------------------

    def put(self, size: int) -> None:
        """Note that an outcome waits to be written. Any thread may call this."""
        with self._putting:
            self._put += size

    def written(self, size: int) -> None:
        """Note that outcomes are written. Only the recorder calls this."""
        self._written += size

    def let_go(self, size: int) -> None:
        """Note that claims with *size* bytes of arguments are over. Only the recorder calls this."""
        self._let_go += size


def weight(ended: Outcome | Released | Lost) -> int:
    """Return the bytes of an outcome; 0 if they are few, as of most, so that these cost no lock."""
    if type(ended) is Outcome and ended.state is State.DONE:
        return 0 if ended.value is None or len(ended.value) < FEW else len(ended.value)  # as nearly always
    if isinstance(ended, Advanced):
        return 0 if ended.step.value is None else len(ended.step.value)
    if not isinstance(ended, Outcome):
        return 0
    size = len(ended.traceback) + len(ended.error_message) + (0 if ended.value is None else len(ended.value))
    return size if size >= FEW else 0


def _most() -> int:
    return max(MOST, LARGEST_HELD * settings.MAX_PAYLOAD)
