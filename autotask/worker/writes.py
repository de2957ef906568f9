"""What becomes of a claim in the database, by the way its attempt ended: one statement for all that ended alike."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.context import Progress
from autotask.store import finish, progress, rescue
from autotask.store.finish import Outcome, Release
from autotask.store.isolation import Isolation
from autotask.store.progress import Claim
from autotask.task import ClaimedTask, State
from autotask.worker.outcome import Lost, Released
from autotask.worker.reporter import Reports
from autotask.worker.unknown_tasks import UnknownTasks

Record = tuple[ClaimedTask, Outcome | Released | Lost]

#: Writes records that ended alike, and returns how many of them were accepted.
Write = Callable[[list[Record]], int]


class Writes:
    """The ways to write records down.

    :param connection: returns the connection to be used.
    :param worker_id: returns the present id of the worker.
    :param reporter: has the last words of the tasks on their progress.
    :param unknown_tasks: learns the names of tasks that are given back because this worker does not know them.
    """

    def __init__(
        self,
        connection: Callable[[], BaseDatabaseWrapper],
        worker_id: Callable[[], uuid.UUID],
        reporter: Reports,
        unknown_tasks: UnknownTasks,
    ) -> None:
        self._connection = connection
        self._worker_id = worker_id
        self._reporter = reporter
        self._unknown_tasks = unknown_tasks
        self._isolation = Isolation()

    def parted(self, records: Sequence[Record]) -> list[tuple[Write, list[Record]]]:
        """Return how to write the records down that are not in the database already, and which of them in which way."""
        groups: dict[Write, list[Record]] = {self.end: [], self.retry: [], self.release: [], self.lose: []}
        for record in records:
            if isinstance(record[1], Released):
                groups[self.release].append(record)
            elif isinstance(record[1], Lost):
                groups[self.lose].append(record)
            elif not record[1].recorded:
                groups[self.retry if record[1].state is State.RETRY else self.end].append(record)
        return list(groups.items())

    def end(self, group: list[Record]) -> int:
        """Record the outcomes DONE, ERROR and CANCELLED."""
        self._note_last_words(group)
        outcomes = outcomes_of(group)
        return finish.end(self._connection(), outcomes, now=time.monotonic(), error_ttl=settings.ERROR_TTL)

    def retry(self, group: list[Record]) -> int:
        """Schedule the next attempts."""
        self._note_last_words(group)
        outcomes = outcomes_of(group)
        return finish.retry(self._connection(), outcomes, now=time.monotonic(), worker_id=self._worker_id())

    def release(self, group: list[Record]) -> int:
        """Give tasks back."""
        self._note_last_words(group)
        given_back = [given for _, given in group if isinstance(given, Released)]
        for given in given_back:
            if given.unknown:
                # Before it can be claimed again.
                self._unknown_tasks.met(given.task.name, given.unknown)
        releases = [
            Release(given.task.id, given.task.fence, given.delay, bool(given.unknown), given.known)
            for given in given_back
        ]
        finish.release(self._connection(), releases)
        return len(group)  # What was not ours any more needs no giving back.

    def lose(self, group: list[Record]) -> int:
        """Give back what has lost its process."""
        claims = [(task.id, task.fence, lost.reason) for task, lost in group if isinstance(lost, Lost)]
        rescue.lose(self._connection(), claims, max_crashes=settings.MAX_CRASHES, error_ttl=settings.ERROR_TTL)
        return len(group)  # What was not ours any more needs no giving back.

    def _note_last_words(self, group: list[Record]) -> None:
        """Write down what tasks said of their progress just before their end: when their claims are over, it is late."""
        claims = [(task.id, task.fence) for task, _ in group]
        words = {claim: word for claim in claims if (word := self._reporter.last_word(claim))}
        if words:
            # What is refused is left out: the end of a task does not hang on its last words.
            self._isolation.run(list(words), lambda part: self._note(words, part), lambda claim, error: None)

    def _note(self, words: Mapping[Claim, Progress], part: Sequence[Claim]) -> None:
        progress.note(self._connection(), {claim: words[claim] for claim in part}, wait=True)


def outcomes_of(group: list[Record]) -> list[Outcome]:
    """Return the outcomes among records."""
    return [outcome for _, outcome in group if isinstance(outcome, Outcome)]
