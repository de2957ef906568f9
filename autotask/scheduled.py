"""The definition that periodic_task and cron_task make: workers run it at each tick."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from autotask.definition import Definition
from autotask.handle import TaskHandle
from autotask.options import Options
from autotask.other_words import missing, of_schedules
from autotask.schedules.base import Timetable
from autotask.schedules.policy import Policy
from autotask.store.enqueue import NewTask

P = ParamSpec("P")
R = TypeVar("R")

#: Results of a schedule are kept until this many further ticks have come, so that its last runs can be shown.
KEPT_RUNS = 20


class ScheduledTask(Definition[P, R]):
    """The definition that ``@periodic_task`` and ``@cron_task`` make: workers run it at each tick.

    Calling it runs the function at once, in place.

    :ivar is_hidden: whether workers do not know it: nobody calls it, so they never look for it.
    :ivar schedule: when it is due.
    :ivar policy: what happens to ticks that were missed, or that come too soon after one another.
    """

    def __init__(
        self, function: Callable[P, Any], name: str, options: Options, schedule: Timetable, policy: Policy
    ) -> None:
        super().__init__(function, name, options)
        self.schedule = schedule
        self.policy = policy
        self._ahead: deque[datetime] = deque()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, and return its value."""
        result: R = self._in_place()(*args, **kwargs)
        return result

    if not TYPE_CHECKING:  # Type checkers should still refuse unknown attributes.

        def __getattr__(self, attribute):
            """Refuse an attribute that other task queues have, and say what to write here."""
            raise missing(self, attribute, of_schedules)

    def run_now(self) -> TaskHandle[R]:
        """Enqueue a task of the schedule in addition to its ticks, and return its handle.

        It belongs to no tick: its context has no ``scheduled_for``. It runs even if the schedule is paused, and whatever
        its policy for overlaps.

        :raises UnsuitableFunction: the function is defined in the running script.
        :raises django.db.DatabaseError: it could not be stored.
        """
        self.refuse_unreachable()
        now = datetime.now(UTC)
        ttl = (self.schedule.upcoming(KEPT_RUNS, now)[-1] - now).total_seconds()
        task = self.new_call((), {})
        task = task._replace(kind=replace(task.kind, schedule=self.name, ttl=max(ttl, task.kind.ttl)))
        return self.store([task])[0]

    @property
    def is_hidden(self) -> bool:
        return self.is_late

    def tick_task(self, tick: datetime) -> NewTask:
        """Return the task of one tick."""
        task = self.new_call((), {})
        kind = replace(
            task.kind,
            schedule=self.name,
            scheduled_for=tick,
            delay=task.kind.delay + random.uniform(0, self.policy.jitter),
            ttl=max(task.kind.ttl, (self.look_ahead(tick) - tick).total_seconds()),
        )
        return task._replace(kind=kind)

    def look_ahead(self, tick: datetime) -> datetime:
        """Return about the time of the twentieth tick after the given one, and remember the ticks in between.

        That takes a millisecond for some timetables. It can be done before the tick comes, together with many others.
        """
        while self._ahead and self._ahead[0] <= tick:
            self._ahead.popleft()
        missing = KEPT_RUNS - len(self._ahead)
        self._ahead.extend(self.schedule.upcoming(missing, self._ahead[-1] if self._ahead else tick))
        return self._ahead[-1]

    def _with(self, options: Options) -> Self:
        return type(self)(self.function, self.name, options, self.schedule, self.policy)
