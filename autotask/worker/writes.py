"""Write claims to the database, by how their attempts ended: one statement for all that ended alike."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.context import Progress
from autotask.flow import Flow, RateGate
from autotask.store import background, finish, gates, model_rows, notify, progress, release, rescue, steps
from autotask.store.ahead import Ahead
from autotask.store.errors import Trouble, trouble_of
from autotask.store.finish import HandingOn, Outcome, RowEnds
from autotask.store.isolation import Isolation
from autotask.store.progress import Claim
from autotask.store.release import Release
from autotask.task import ClaimedTask, State
from autotask.worker import rows_of_tasks
from autotask.worker.followers import Followers, no_followers
from autotask.worker.gates import Gates, present
from autotask.worker.outcome import Advanced, Lost, Released
from autotask.worker.reporter import Reporter
from autotask.worker.unfinished import Unfinished
from autotask.worker.unknown_tasks import UnknownTasks

Record = tuple[ClaimedTask, Outcome | Released | Lost]

#: Writes records that ended alike, and returns how many of them were accepted.
Write = Callable[[list[Record]], int]


class Writes:
    """The ways to write records.

    :param connection: returns the connection to use.
    :param reporter: has the last progress of the tasks.
    :param unknown_tasks: takes note of unknown tasks that are released.
    :param gates: is notified of tasks that became ready.
    :param followers: those that run in the slots of tasks that have ended; by default, nobody does.
    :param unfinished: which claims have other tasks; by default, none is known to be over.
    """

    def __init__(
        self,
        connection: Callable[[], BaseDatabaseWrapper],
        reporter: Reporter,
        unknown_tasks: UnknownTasks,
        gates: Gates,
        followers: Followers | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:
        self._unfinished = Unfinished() if unfinished is None else unfinished
        self._gates = gates
        self._followers = no_followers() if followers is None else followers
        self._connection = connection
        self._reporter = reporter
        self._unknown_tasks = unknown_tasks
        self._isolation = Isolation()

    def only_way(self, records: Sequence[Record]) -> Write | None:
        """Return the way to write them if they are successes of tasks without rows, all with gates or all without, as nearly always."""
        if model_rows.tables:
            return None
        has_flow = records[0][0].flow is not None
        # Not all(), which takes twice as long: this runs for each task.
        for task, ended in records:
            if type(ended) is not Outcome or ended.state is not State.DONE or ended.recorded:
                return None
            if (task.flow is not None) is not has_flow:
                return None
        return self.end_handing_on if has_flow else self.end

    def ahead(self, record: Record, last: Record | None) -> Ahead | None:
        """Return the statement that writes a record, to be sent; None if it has to be written by the other ways.

        :param last: is written before.
        """
        task, ended = record
        if (
            not isinstance(ended, Outcome)
            or task.flow is not None
            or not self.only_way([record])
            or self._reporter.has_news()
        ):
            return None
        over = self._unfinished.over([task] if last is None else [last[0], task])
        return finish.done_ahead(
            self._connection(), ended, now=time.monotonic(), error_ttl=settings.ERROR_TTL, over=over
        )

    def parted(self, records: Sequence[Record]) -> list[tuple[Write, list[Record]]]:
        """Return the records that are not in the database yet, grouped by the way to write them."""
        ways = (self.end, self.end_handing_on, self.retry, self.release, self.lose, self.advance, self.end_rows)
        groups: dict[Write, list[Record]] = {way: [] for way in ways}
        for record in records:
            if isinstance(record[1], Advanced):
                if not record[1].recorded:
                    groups[self.advance].append(record)
            elif isinstance(record[1], Released):
                groups[self.release].append(record)
            elif isinstance(record[1], Lost):
                groups[self.lose].append(record)
            elif not record[1].recorded:
                ending: Write = self.end if record[0].flow is None else self.end_handing_on
                if model_rows.tables and record[0].name in model_rows.tables:
                    ending = self.end_rows
                groups[self.retry if record[1].state is State.RETRY else ending].append(record)
        return list(groups.items())

    def end(self, group: list[Record], row_ends: RowEnds | None = None) -> int:
        """Record the outcomes DONE, ERROR and CANCELLED."""
        self._note_last_words(group)
        return finish.end(
            self._connection(),
            outcomes_of(group),
            now=time.monotonic(),
            error_ttl=settings.ERROR_TTL,
            row_ends=row_ends,
            over=self._over(group),
        )

    def end_handing_on(self, group: list[Record], row_ends: RowEnds | None = None) -> int:
        """Record the same for tasks that may have slots, which go to those that wait for them."""
        self._note_last_words(group)
        # Again each time: if this is another try, others may have begun in these slots meanwhile.
        handing_on = HandingOn(present().slots, self._followers.heirs(task for task, _ in group))
        outcomes, connection = outcomes_of(group), self._connection()
        end = functools.partial(
            finish.end,
            *(connection, outcomes),
            now=time.monotonic(),
            error_ttl=settings.ERROR_TTL,
            over=self._over(group),
        )
        try:
            accepted = end(handing_on=handing_on, row_ends=row_ends)
        except DatabaseError as error:
            if len(group) > 1 or connection.in_atomic_block or trouble_of(error) is not Trouble.REFUSED:
                raise
            # The one that comes next may be at fault. If this one is, it is refused again.
            self._followers.lose(task for task, _ in group)
            accepted = end()
            gates.mark(connection, [gate.key for task, _ in group if task.flow for gate in Flow.load(task.flow).gates])
            handing_on.marked = 1
        self._followers.recorded(handing_on.heirs, handing_on.inherited, handing_on.gates)
        self._gates.opened(handing_on.admitted + handing_on.marked)
        return accepted

    def end_rows(self, group: list[Record]) -> int:
        """Record the same for model tasks, and write it to their rows."""
        return sum(self._end_rows(part) for part in _alike(group))

    def _end_rows(self, group: list[Record]) -> int:
        end: Callable[..., int] = self.end if group[0][0].flow is None else self.end_handing_on
        name, outcomes = group[0][0].name, outcomes_of(group)
        row_ends = rows_of_tasks.ends(name, outcomes)
        try:
            accepted = end(group, row_ends)
        except DatabaseError as error:
            if trouble_of(error) not in (Trouble.REFUSED, Trouble.DOUBTFUL):
                raise
            # Perhaps a row is at fault: the outcomes do not depend on it.
            accepted = end(group)
        if row_ends is not None and row_ends.missed:
            rows_of_tasks.missed.add(name)
        return accepted

    def advance(self, group: list[Record]) -> int:
        """Keep what steps have returned, and let their tasks wait for the next step."""
        self._note_last_words(group)
        connection = self._connection()
        for part in _alike(group):
            ends = [advanced.step for _, advanced in part if isinstance(advanced, Advanced)]
            table, over = model_rows.tables.get(part[0][0].name), self._over(part)
            try:
                steps.advance(connection, ends, now=time.monotonic(), table=table, over=over)
            except DatabaseError as error:
                if table is None or trouble_of(error) not in (Trouble.REFUSED, Trouble.DOUBTFUL):
                    raise
                steps.advance(connection, ends, now=time.monotonic(), over=over)  # as above
        notify.wake_after_commit(connection)
        self._gates.opened(_with_gates(group))
        return len(group)  # as for a release

    def retry(self, group: list[Record]) -> int:
        """Schedule the next attempts."""
        self._note_last_words(group)
        outcomes = outcomes_of(group)
        accepted = finish.retry(self._connection(), outcomes, now=time.monotonic(), over=self._over(group))
        self._gates.opened(_with_gates(group))
        return accepted

    def release(self, group: list[Record]) -> int:
        """Release tasks."""
        self._note_last_words(group)
        released = [each for _, each in group if isinstance(each, Released)]
        for each in released:
            if each.unknown:
                # Before it can be claimed again.
                self._unknown_tasks.met(each.task.name, each.unknown)
        releases = [
            Release(each.task.id, each.task.fence, each.delay, bool(each.unknown), each.known) for each in released
        ]
        if closed := _closed(released):
            gates.close(self._connection(), closed)
        release.release(self._connection(), releases, self._over(group))
        if not all(each.delay for each in released):
            notify.send(self._connection())  # Perhaps no other worker was notified of them.
        messages = [each.task.id for each in released if background.of_message(each.task.name) is not None]
        background.call_for(self._connection(), messages)
        self._gates.opened(_with_gates(group))
        return len(group)  # A lost claim needs no release.

    def lose(self, group: list[Record]) -> int:
        """Rescue tasks whose process has died."""
        rescue.lose(
            self._connection(),
            [(task.id, task.fence, lost.reason) for task, lost in group if isinstance(lost, Lost)],
            max_crashes=settings.MAX_CRASHES,
            error_ttl=settings.ERROR_TTL,
            over=self._over(group),
        )
        self._gates.opened(_with_gates(group))
        return len(group)  # as above

    def _over(self, group: Sequence[Record]) -> list[int]:
        """Return the numbers of the claims that are over with these records."""
        return self._unfinished.over([task for task, _ in group])

    def _note_last_words(self, group: list[Record]) -> None:
        """Write the progress that tasks reported just before their end: it is too late once their claims are over."""
        if not self._reporter.has_news():
            return  # as nearly always: most tasks report nothing
        claims = [(task.id, task.fence) for task, _ in group]
        words = {claim: word for claim in claims if (word := self._reporter.last_word(claim))}
        if words:
            # Refused progress is left out: the outcome of a task does not depend on it.
            self._isolation.run(list(words), lambda part: self._note(words, part), lambda claim, error: None)

    def _note(self, words: Mapping[Claim, Progress], part: Sequence[Claim]) -> None:
        progress.note(self._connection(), {claim: words[claim] for claim in part}, wait=True)


def _closed(released: Sequence[Released]) -> dict[str, float]:
    """Return for how many seconds which gates of rates should be closed."""
    closed: dict[str, float] = {}
    for each in released:
        if each.closes and each.task.flow is not None:
            for gate in Flow.load(each.task.flow).gates:
                if isinstance(gate, RateGate):
                    closed[gate.key] = max(each.delay, closed.get(gate.key, 0.0))
    return closed


def _alike(group: list[Record]) -> list[list[Record]]:
    """Return records of tasks of the same name, with or without gates, together."""
    parts: dict[tuple[str, bool], list[Record]] = {}
    for record in group:
        parts.setdefault((record[0].name, record[0].flow is None), []).append(record)
    return list(parts.values())


def _with_gates(group: Sequence[Record]) -> int:
    """Return the number of tasks that may have given up slots, or wait at their gates again, and so may have left a mark."""
    return sum(task.flow is not None for task, _ in group)


def outcomes_of(group: list[Record]) -> list[Outcome]:
    """Return the outcomes among records."""
    return [outcome for _, outcome in group if isinstance(outcome, Outcome)]
