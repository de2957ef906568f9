"""The messages of one background worker: claim them in order, handle them, and record the outcomes one by one."""

import logging
import time
from collections.abc import Callable, Sequence

from django.db import DatabaseError, InterfaceError

from autotask.store import inbox
from autotask.store.errors import Trouble, trouble_of
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.texts.lines import describe, one_line
from autotask.worker import execution, steps
from autotask.worker.background.instance import Instance
from autotask.worker.gates import Gates
from autotask.worker.outage import Outage
from autotask.worker.outcome import Released
from autotask.worker.unknown_tasks import UnknownTasks
from autotask.worker.writes import Record, Writes

logger = logging.getLogger("autotask.background")

#: Messages in one claim at most. It grows while handling them takes less than QUICK seconds: the others would wait for a
#: worker that is stopped, and what is put with a larger priority has to wait for all of them.
MOST_CLAIMED = 64
QUICK = 0.05

#: Seconds between two tries to record outcomes at most, once the instance is asked to stop.
WHEN_ASKED = 0.1

#: Triggers that one run handles at most.
MOST_TRIGGERS = 1024


class Inbox:
    """Claims and handles messages for an instance. Only the thread of the instance calls it.

    :param instance: of a background worker.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._limit = 1
        self._outage = Outage(f"handle the messages of the background worker {instance.worker.name}")
        #: Whether messages may be claimed that nobody here knows of.
        self._unsure = True

    def handle_next(self) -> bool:
        """Handle the next messages, one by one; return whether there may be more."""
        tasks = self._claim(self._limit)
        began = time.monotonic()
        for number, task in enumerate(tasks):
            if not self._instance.may_run():
                self._release(tasks[number:])
                break
            self._record([self._handle(task)])
            if self._unsure:
                break  # Its outcome may not be recorded: nothing may overtake it.
        quick = time.monotonic() - began < QUICK
        self._limit = min(MOST_CLAIMED, 2 * self._limit) if quick else max(1, self._limit // 2)
        return bool(tasks) or self._unsure

    def handle_triggers(self) -> bool:
        """Run once for all triggers that wait; return whether there were any."""
        tasks = self._claim(MOST_TRIGGERS)
        if not tasks:
            return False
        if not self._instance.may_run():
            self._release(tasks)
            return True
        first, ended = self._handle(tasks[0])
        if isinstance(ended, Outcome) and ended.state is State.CANCELLED:
            # Somebody has cancelled this one only.
            self._release(tasks[1:])
            self._record([(first, ended)])
        else:
            self._record([(first, ended), *((task, _like(ended, task)) for task in tasks[1:])])
        return True

    def _handle(self, task: ClaimedTask) -> tuple[ClaimedTask, Outcome | Released]:
        instance, parts = self._instance, self._instance.parts
        if task.cancel_requested or parts.is_cancelled(task):
            return task, steps.cancelled(task)
        instance.place.item = task
        try:
            ended = execution.execute(task, parts.is_cancelled, parts.reporter, instance.place)
        finally:
            instance.place.item = None
        instance.goes_on()
        if instance.interrupted:
            instance.ask()
        return task, ended

    def _claim(self, limit: int) -> list[ClaimedTask]:
        found: list[ClaimedTask] = []

        def claim() -> None:
            with self._instance.parts.lending.borrow() as connection:
                if self._unsure:
                    inbox.release_all(connection, self._instance.address)
                found[:] = inbox.take(connection, self._instance.address, limit)

        self._try(claim)
        return found

    def _record(self, records: Sequence[Record]) -> None:
        """Record outcomes. If the database is away, wait for it: the next message must not overtake them."""
        instance = self._instance

        def write() -> None:
            with instance.parts.lending.borrow() as connection:
                writes = Writes(
                    lambda: connection,
                    lambda: instance.address.worker_id,
                    instance.parts.reporter,
                    UnknownTasks(),
                    Gates(lambda: None),
                )
                for way, group in writes.parted(records):
                    if group:
                        way(group)

        while (error := self._try(write)) is not None:
            if trouble_of(error) is Trouble.REFUSED:
                records = [_bare(record, error) for record in records]
            elif instance.interrupted or (instance.here.control.asked and not instance.parts.registration.is_fresh()):
                return  # They are rescued, or released by the caretaker, and run again.
        if instance.parts.count:
            instance.parts.count(records)
        instance.parts.reporter.forget([(task.id, task.fence) for task, _ in records])
        # They may be retried under the same ids.
        instance.parts.forget([task.id for task, _ in records])

    def _release(self, tasks: Sequence[ClaimedTask]) -> None:
        self._record([(task, Released(task)) for task in tasks])

    def _try(self, act: Callable[[], None]) -> Exception | None:
        """Do something with the database; if that fails, wait a moment, and return the error."""
        try:
            act()
        except (DatabaseError, InterfaceError, OSError) as error:
            self._unsure = True
            seconds = self._outage.failed(error)
            if not self._instance.here.control.sleep(seconds):
                time.sleep(min(seconds, WHEN_ASKED))
            return error
        self._outage.succeeded()
        self._unsure = False
        return None


def _bare(record: Record, error: Exception) -> Record:
    """Return an error in place of an outcome that the database does not accept."""
    task, ended = record
    if not isinstance(ended, Outcome):
        return record
    message = f"its outcome could not be stored: {one_line(describe(error))}"
    return task, ended._replace(state=State.ERROR, value=None, error_message=message, traceback="")


def _like(ended: Outcome | Released, task: ClaimedTask) -> Outcome | Released:
    """Return the same outcome for another trigger of the same run."""
    if isinstance(ended, Outcome):
        return ended._replace(id=task.id, fence=task.fence)
    return Released(task, ended.delay)
