"""An attempt in one transaction with its outcome: both are committed, or neither."""

import dataclasses
import functools
import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, transaction
from django.db.transaction import TransactionManagementError

from autotask.conf import settings
from autotask.context import Progress, TaskContext
from autotask.store import finish, model_rows, progress, steps
from autotask.store.connection import current, rows
from autotask.store.errors import is_conflict, is_outage, is_overlong, sqlstate
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.worker import rows_of_tasks
from autotask.worker.durations import Durations
from autotask.worker.gates import present
from autotask.worker.hygiene import is_open
from autotask.worker.outcome import Advanced, RunAgain
from autotask.worker.reporter import Reports
from autotask.worker.surroundings import left_open_error

logger = logging.getLogger("autotask.worker")

#: A function is run again this often after a conflict of its transaction, or a cut connection, before that counts as a
#: failure.
MOST_AGAIN = 10

#: The most tasks for which cut connections are counted; beyond that the counts begin again.
MOST_COUNTED = 1000


class ClaimLost(Exception):
    """This worker no longer holds the claim of the task, so its transaction is rolled back."""


def run(
    task: ClaimedTask, function: Callable[[bool], Outcome | Advanced], context: TaskContext, reporter: Reports
) -> Outcome | Advanced:
    """Run a function in transactions, one after the other, until one does not conflict with others.

    :param function: runs the task's function, and returns the outcome; called with whether it has run before.
    :param context: how the function reports its progress.
    :raises RunAgain: nothing was committed, since the connection was cut; a later try may succeed.
    """
    again = 0
    while True:
        transaction = _Transaction(task, context, reporter)
        try:
            ended = transaction.run(functools.partial(function, again > 0))
            _cuts.pop(task.id, None)
            return ended
        except (DatabaseError, InterfaceError) as error:
            cut = transaction.was_cut(error)
            if cut and (committed := transaction.committed()) is not None:
                _cuts.pop(task.id, None)
                return committed
            if task.at_most_once or context.should_stop:
                raise
            if cut:
                if transaction.took_too_long(error):
                    raise
                _count_cut(task, error)
                raise RunAgain from error  # If it was committed all the same, the release will have no effect.
            if not is_conflict(error) or again >= MOST_AGAIN:
                raise
            again += 1
            logger.info("%s %s runs again: its transaction conflicted with another one", task.name, task.id)


class _Transaction:
    """One transaction: the outcome of the function in it, and whether it was committed."""

    def __init__(self, task: ClaimedTask, context: TaskContext, reporter: Reports) -> None:
        self._task = task
        self._context = context
        self._reporter = reporter
        self._raw: Any = None
        self._said: Progress | None = None
        self._asked = False
        self._durations = Durations()
        self.ended: Outcome | Advanced | None = None

    def run(self, function: Callable[[], Outcome | Advanced]) -> Outcome | Advanced:
        """Run the function in it, and record its outcome in it."""
        committed: list[bool] = []
        try:
            with transaction.atomic(settings.DATABASE):
                # The first callback after the commit: it tells a failed commit from a failure of later callbacks.
                current().on_commit(lambda: committed.append(True))
                self._begin()
                with current().execute_wrapper(self._ask):
                    ended = function()
                self._refuse_ended()
                self._durations.note_pause()
                self._record(ended)
        except ClaimLost:
            return ended  # The recorder will find and log the same.
        except BaseException:
            if self.ended is None or not committed:
                raise
            logger.exception("%s %s was committed, but an on_commit function failed", self._task.name, self._task.id)
        if not committed and not (connection := current()).in_atomic_block and not connection.autocommit:
            raise left_open_error([settings.DATABASE])  # AUTOCOMMIT is False: atomic() does not commit.
        return _recorded(ended)

    def committed(self) -> Outcome | Advanced | None:
        """Return the outcome if it was committed although the answer was lost; None if not, or if that is not known now."""
        if self.ended is None:
            return None
        try:
            # Django keeps a dead connection if rolling back does not fail on it, as with psycopg 3.
            current().close()
            is_recorded = self._is_recorded(self.ended)
        except (DatabaseError, InterfaceError):
            return None
        return _recorded(self.ended) if is_recorded else None

    def was_cut(self, error: Exception) -> bool:
        """Whether the error comes from a connection that was cut, or could not be made."""
        return is_outage(error) if self._raw is None else bool(self._raw.closed)

    def took_too_long(self, error: Exception) -> bool:
        """Whether the server has ended the session, as it would do the next time, since the transaction took too long."""
        if is_overlong(error):
            return True
        if sqlstate(error):
            return False
        # psycopg2 says only that the connection was closed (findings/psycopg2_hides_why_a_session_has_ended.sh).
        try:
            current().close()
            return self._durations.exceed(current())
        except (DatabaseError, InterfaceError):
            return False

    def _begin(self) -> None:
        self._raw = current().connection
        durations = Durations()
        durations.note_pause()
        if _sees_a_snapshot():
            # At that level, a row that somebody has changed since the beginning can no longer be changed. So only the task
            # itself may write its progress, at its end.
            self._context.report_to(self._note)
        if is_open(current()):  # The look at the level has begun the transaction.
            durations.note_answer()
            self._durations = durations

    def _ask(self, execute: Callable[..., Any], *args: Any) -> Any:
        self._refuse_ended()
        self._durations.note_pause()
        try:
            result = execute(*args)
        finally:
            self._durations.note_answer()
        self._asked = True
        return result

    def _refuse_ended(self) -> None:
        """Refuse to continue after the function has ended the transaction. The driver knows; the server is not asked.

        The driver begins it with the first statement, so before that there is none.
        """
        connection = current()
        if self._asked and connection.connection is self._raw and not (self._raw.closed or is_open(connection)):
            raise TransactionManagementError(
                f"{self._task.name} has ended the transaction that it runs in (atomic=True), by a COMMIT or ROLLBACK of its "
                "own. Use savepoints (transaction.atomic()), or do without atomic=True."
            )

    def _note(self, said: Progress) -> None:
        self._said = said

    def _is_recorded(self, ended: Outcome | Advanced) -> bool:
        if isinstance(ended, Outcome):
            return bool(finish.recorded(current(), [ended]))
        last = steps.last(current(), self._task.id)
        return last is not None and last.number == ended.step.number and last.value == ended.step.value

    def _record(self, ended: Outcome | Advanced) -> None:
        claim = self._task.id, self._task.fence
        if last_word := self._said or self._reporter.last_word(claim):
            progress.note(current(), {claim: last_word}, wait=True)
        if not (self._end(ended) if isinstance(ended, Outcome) else self._advance(ended)):
            raise ClaimLost
        self.ended = ended

    def _end(self, ended: Outcome) -> int:
        handing_on = None if self._task.flow is None else finish.HandingOn(present().slots)
        return finish.end(
            current(),
            [ended],
            now=ended.ended_at,
            error_ttl=settings.ERROR_TTL,
            handing_on=handing_on,
            row_ends=rows_of_tasks.ends(self._task.name, [ended]),
            in_snapshot=_sees_a_snapshot(),
        )

    def _advance(self, ended: Advanced) -> int:
        table = model_rows.tables.get(self._task.name)
        return steps.advance(current(), [ended.step], now=ended.step.ended_at, table=table)


def _recorded(ended: Outcome | Advanced) -> Outcome | Advanced:
    return ended._replace(recorded=True) if isinstance(ended, Outcome) else dataclasses.replace(ended, recorded=True)


def _count_cut(task: ClaimedTask, error: Exception) -> None:
    """Raise the error if the connection of a task was cut too often."""
    if len(_cuts) >= MOST_COUNTED:
        _cuts.clear()
    _cuts[task.id] = _cuts.get(task.id, 0) + 1
    if _cuts[task.id] > MOST_AGAIN:
        del _cuts[task.id]
        raise error


def _sees_a_snapshot() -> bool:
    """Whether transactions of this thread do not see later commits."""
    connection = current()
    if _thread.raw is not connection.connection:
        _thread.raw = connection.connection
        _thread.level = rows(connection, "SHOW transaction_isolation")[0][0]
    return _thread.level in ("repeatable read", "serializable")


class _Thread(threading.local):
    """The isolation level of a thread's connection, read once."""

    raw: Any = None
    level = ""


_thread = _Thread()

#: The number of times that the connection of a task was cut in this process.
_cuts: dict[uuid.UUID, int] = {}
