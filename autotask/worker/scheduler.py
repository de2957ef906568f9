"""Service: enqueue periodic and cron tasks that are due."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import registry
from autotask.conf import settings
from autotask.notifications.alerts import looking
from autotask.scheduled import ScheduledTask
from autotask.schedules.policy import IN_TIME, MOST
from autotask.signals import tell_missed
from autotask.store import schedules
from autotask.store.connection import keeps_session
from autotask.store.enqueue import NewTask
from autotask.store.errors import is_locked
from autotask.store.isolation import Refusals
from autotask.store.schedules import DueSchedule, Move
from autotask.worker.outage import Outage

logger = logging.getLogger("autotask.worker")

Schedules = Mapping[str, ScheduledTask[..., object]]

#: Seconds between two declarations of the schedules in the code of this worker.
DECLARE_EVERY = 20.0

#: Seconds until the next declaration if a schedule was locked that should have been registered.
DECLARE_AGAIN = 1.0

#: Seconds after which a timetable that no worker declares now yields to one that it had replaced.
ABANDONED_AFTER = 3 * DECLARE_EVERY

#: Seconds after which a schedule that no worker declares now is retired: longer than any deployment takes.
RETIRE_AFTER = 86400.0
RETIRE_EVERY = 600.0

#: Seconds until the next look even if no tick is expected; another worker may have changed a schedule.
LOOK_EVERY = 30.0

#: The same behind a pooler, where no notification tells that a schedule was resumed: its next tick must not be late.
DEAF_LOOK = IN_TIME.total_seconds() / 2

#: Seconds until the next look for the end of a task that ticks wait for.
HELD_LOOK = 0.5

#: The least seconds between two looks; ticks that come faster are enqueued together.
SHORTEST_WAIT = 0.02

#: Seconds until the next look if another worker, perhaps a stuck one, has locked a due schedule.
LOCKED_LOOK = 0.1


class Scheduler:
    """Turns ticks into tasks. Any number of workers may do this at once: each tick is enqueued once.

    :param wake: called when tasks have been enqueued.
    """

    doing = "enqueue scheduled tasks"

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._declare_at = float("-inf")
        self._retire_at = time.monotonic() + RETIRE_EVERY
        self._overlapping: set[str] = set()
        self._refused: Refusals[str] = Refusals("The schedule %s cannot make a task")
        self._announcing = Outage("note missed ticks for AUTOTASK_ALERTS")

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Enqueue the tasks of due ticks."""
        tasks = registry.schedules()
        if not tasks:
            return DECLARE_EVERY
        specs = {name: task.schedule.spec for name, task in tasks.items()}
        if time.monotonic() >= self._declare_at:
            self._declare(connection, tasks, specs)
        spared = self._refused.spared()
        look = schedules.look(connection, {name: spec for name, spec in specs.items() if name not in spared})
        if look.due:
            return self._enqueue(connection, look.due, tasks)
        wait = LOOK_EVERY if look.seconds is None else max(look.seconds, SHORTEST_WAIT)
        longest = LOOK_EVERY if keeps_session(connection) else DEAF_LOOK
        return min(wait, HELD_LOOK if look.holds else longest, max(0.0, self._declare_at - time.monotonic()))

    def _declare(self, connection: BaseDatabaseWrapper, tasks: Schedules, specs: Mapping[str, str]) -> None:
        def declare(names: Sequence[str]) -> tuple[int, int]:
            mine = {name: specs[name] for name in names}
            unregistered = schedules.declare(connection, mine, lately=DECLARE_EVERY / 2, abandoned=ABANDONED_AFTER)
            new = [
                (name, tasks[name].name, specs[name], tasks[name].schedule.first_after(since))
                for name, since in unregistered.items()
            ]
            return len(new), schedules.register(connection, new, abandoned=ABANDONED_AFTER)

        done = self._refused.run(list(specs), declare)
        missing = sum(new - entered for new, entered in done)
        for task in tasks.values():
            task.look_ahead(datetime.now(UTC))
        now = time.monotonic()
        self._declare_at = now + (DECLARE_AGAIN if missing else DECLARE_EVERY)
        if now >= self._retire_at:
            # Set before: if retiring fails, other schedules must still get their ticks.
            self._retire_at = now + RETIRE_EVERY
            if retired := schedules.retire(connection, RETIRE_AFTER):
                logger.info("Schedules retired that no worker has declared for a day: %s", ", ".join(retired))

    def _enqueue(self, connection: BaseDatabaseWrapper, due: Sequence[DueSchedule], tasks: Schedules) -> float:
        """Enqueue the tasks of schedules that are due, and return the seconds until the next look."""
        steps = {schedule.name: _Step(schedule, tasks[schedule.name]) for schedule in due}
        self._announce(connection, steps)

        def advance(names: Sequence[str]) -> tuple[set[str], int]:
            mine = [steps[name] for name in names]
            return schedules.advance(
                connection, [step.move for step in mine], [task for step in mine for task in step.tasks]
            )

        plain = [name for name, step in steps.items() if not step.flows]
        done = self._refused.run(plain, advance) if plain else []
        for step in steps.values():
            if step.flows:
                done += self._enqueue_flowing(connection, step)
        moved = {name for names, _ in done for name in names}
        for name, step in steps.items():
            if name in moved:
                self._tell(step)
        if any(made for _, made in done):
            self._wake()
        # One look may not show all of them.
        return 0.0 if len(moved) == len(steps) else LOCKED_LOOK

    def _announce(self, connection: BaseDatabaseWrapper, steps: Mapping[str, "_Step"]) -> None:
        """Announce missed ticks before the schedules move: if this worker dies in between, they are not forgotten."""
        try:
            _alert(connection, steps)
        except Exception as error:  # a rule or a table of another feature must not hold up the ticks
            self._announcing.failed(error)
        else:
            self._announcing.succeeded()

    def _enqueue_flowing(self, connection: BaseDatabaseWrapper, step: "_Step") -> list[tuple[set[str], int]]:
        """Enqueue tasks that have gates or unique keys: each schedule by itself, as another transaction may hold a key."""

        def advance(_: Sequence[str]) -> tuple[set[str], int]:
            moved, made = schedules.advance_flowing(connection, [step.move], step.tasks)
            step.taken = [task for task in step.tasks if task.id not in made]
            return moved, len(made)

        try:
            return self._refused.run([step.move.seen.name], advance)
        except OperationalError as error:
            if not is_locked(error):
                raise
            return []

    def _tell(self, step: "_Step") -> None:
        """Report the ticks that were left out; overlapping ones, which may be many, at INFO only once for each schedule."""
        name, missed, overlapped = step.move.seen.name, step.missed, step.overlapped
        if missed:
            reason, level = ("made up for", logging.INFO) if step.made_up else ("late", logging.WARNING)
            tell_missed(name, missed[0], missed[-1], reason, level)
        if overlapped:
            level = logging.DEBUG if name in self._overlapping else logging.INFO
            self._overlapping.add(name)
            tell_missed(name, overlapped[0], overlapped[-1], "busy", level)
        for task in step.taken:
            if (tick := task.kind.scheduled_for) is not None:
                tell_missed(name, tick, tick, "taken", logging.INFO)


class _Step:
    """The next step of one due schedule.

    :ivar move: from where to where it moves.
    :ivar tasks: those to enqueue.
    :ivar flows: whether some of them have gates or unique keys.
    :ivar taken: those that are left out because another task has their unique key.
    :ivar missed: ticks that no worker has enqueued in time.
    :ivar made_up: how many tasks make up for them.
    :ivar overlapped: ticks that are left out because of a task that waits or runs.
    """

    def __init__(self, seen: DueSchedule, task: ScheduledTask[..., object]) -> None:
        due = task.schedule.due_until(seen.next_tick, seen.now, MOST)
        ticks = task.policy.made_up([tick for tick in due if not _paused(tick, seen)], seen.now)
        held = schedules.from_held(seen.held)
        begin, hold = task.policy.choose(held, ticks, seen.busy)
        self.move = Move(
            seen,
            last_tick=due[-1] if due else None,
            next_tick=task.schedule.next_after(due[-1]) if due else seen.next_tick,
            held=schedules.as_held(hold),
        )
        self.taken: list[NewTask] = []
        self.tasks: list[NewTask] = [task.tick_task(tick) for tick in begin]
        self.flows = any(not task.is_plain for task in self.tasks)
        # Of more ticks than are made up for at most, the first one is known, too.
        passed = [tick for tick in (seen.next_tick, *due) if tick <= seen.now and not _paused(tick, seen)]
        self.missed = [tick for tick in passed if tick not in ticks or seen.now - tick > IN_TIME]
        self.made_up = len(ticks)
        self.overlapped: list[datetime] = [tick for tick in (*held, *ticks) if tick not in (*begin, *hold)]


def _alert(connection: BaseDatabaseWrapper, steps: Mapping[str, "_Step"]) -> None:
    """Note missed ticks as incidents for AUTOTASK_ALERTS."""
    if not settings.ALERTS:
        return
    missed = {name: step.missed[0] for name, step in steps.items() if step.missed}
    if missed:
        now = next(iter(steps.values())).move.seen.now
        for text in looking.missed(connection, missed, now):
            logger.warning("Alert: %s", text)


def _paused(tick: datetime, seen: DueSchedule) -> bool:
    """Whether a tick passed while the schedule was paused."""
    return seen.resumed_at is not None and tick < seen.resumed_at
