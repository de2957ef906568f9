"""The state of a task as its handle last saw it: all attributes come from one read."""

import uuid

from django.core.exceptions import SynchronousOnlyOperation

from autotask.conf import settings
from autotask.exceptions import ResultExpired, TaskExpired, TaskNotFound
from autotask.store import history, read, uncommitted
from autotask.store.connection import current
from autotask.store.read import StoredTask
from autotask.store.told import ToldTask
from autotask.store.uncommitted import UncommittedCall
from autotask.task import may_be_of_a_task

Seen = StoredTask | ToldTask | UncommittedCall


class Era:
    """The time between two moments at which the tasks of a test were run; a snapshot of an earlier one is outdated."""

    number = 0

    @classmethod
    def begin(cls) -> None:
        """Let all handles of this process read unfinished tasks again."""
        cls.number += 1


class Snapshot:
    """One task as one read has shown it.

    A finished task is read once. An unfinished one is read again when an attribute is asked for that was given before:
    attributes that are asked for one after the other agree, and a loop that waits for one of them ends.
    """

    def __init__(self) -> None:
        self._seen: Seen | None = None
        self._given: set[str] = set()
        self._era = 0

    @property
    def kept(self) -> StoredTask | ToldTask | None:
        """The finished task; None if it was not seen to have finished."""
        # A call that is cancelled before its commit is stored after all if a savepoint is rolled back.
        if self._seen is None or isinstance(self._seen, UncommittedCall) or not self._seen.state.ended:
            return None
        return self._seen

    def keep(self, seen: StoredTask | ToldTask | None) -> None:
        """Keep a task that was seen elsewhere; None: forget what was seen."""
        self._seen, self._given, self._era = seen, set(), Era.number

    def take(self, id: uuid.UUID, name: str) -> Seen:
        """Read the task, and keep what was read.

        :raises TaskExpired: it is not in the database.
        :raises TaskNotFound: no task ever had the id.
        """
        era = Era.number
        seen = read.seen(current(), id) or uncommitted.find(id)
        self._seen, self._given, self._era = seen, set(), era
        if seen is None:
            raise _missing(id, name)
        return seen

    def look(self, attribute: str, id: uuid.UUID, name: str) -> Seen:
        """Return the task as it was seen, for one attribute of its handle; read it if need be.

        In a coroutine, which cannot read, an unfinished task stays as it was seen.

        :raises TaskExpired: see :meth:`take`.
        :raises TaskNotFound: see :meth:`take`.
        """
        seen = self._seen
        if seen is None or seen.id != id or (self.kept is None and self._is_outdated_for(attribute)):
            try:
                seen = self.take(id, name)
            except SynchronousOnlyOperation:
                if seen is None:
                    raise
        self._given.add(attribute)
        return seen

    def _is_outdated_for(self, attribute: str) -> bool:
        return attribute in self._given or self._era != Era.number


def _missing(id: uuid.UUID, name: str) -> TaskNotFound:
    """Return the error for a task that is not there, with how it ended, if that is still known."""
    if not may_be_of_a_task(id):
        return TaskNotFound(id=id, name=name)
    past = history.read(current(), id) if settings.HISTORY else None
    if past is None:
        return TaskExpired(id=id, name=name)
    error = f": {past.error_message}" if past.error_message else ""
    how = f"{past.state.status}, {past.ended_at.isoformat(' ', 'seconds')}{error}"
    return ResultExpired(id=id, name=past.name, how=how, status=past.state.status)
