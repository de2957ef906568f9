"""The loops that run the function of a background worker, by its kind. Each ends when its instance is asked to stop."""

import math
import time
from collections.abc import Callable

from autotask.background.options import Kind
from autotask.worker.background.inbox import Inbox
from autotask.worker.background.instance import Instance
from autotask.worker.background.triggers import Triggers

#: Seconds until the next run after one that has raised; doubled for each one in a row.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


def endless(instance: Instance) -> None:
    """Run without a condition, with a pause in between that grows while runs raise."""
    while instance.may_run() and instance.run_once():
        failures = instance.here.failures
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10)) if failures else 0.0
        if not instance.here.control.sleep(max(pause, instance.here.options.poll_delay)):
            return


def queue(instance: Instance) -> None:
    """Handle what is put; with one thread in order, one after the other."""
    inbox = Inbox(instance)
    while instance.may_run():
        if not inbox.handle_next():
            inbox.wait()
    inbox.settle()


def event(instance: Instance) -> None:
    """Run when triggered."""
    triggers = Triggers(instance)
    while instance.may_run():
        if not triggers.handle():
            triggers.wait()


def interval(instance: Instance) -> None:
    """Run by the clock, and when triggered: then at once, and the next tick stays."""
    clock, triggers = Clock(instance, time.monotonic()), Triggers(instance)
    while True:
        if not _wait_for(instance, triggers, clock.next_at) or not instance.may_run():
            return
        if not instance.run_once():
            return
        clock.has_run(time.monotonic())


class Clock:
    """When an interval worker runs next. Ticks of an interval have fixed moments, so that small delays never add up.

    :param now: on the monotonic clock.
    """

    def __init__(self, instance: Instance, now: float) -> None:
        options = instance.here.options
        self._interval, self._delay, self._before = options.interval, options.delay, options.delay_before or 0.0
        self._first = now
        self._tick = 0
        self.next_at = now + self._before

    def has_run(self, now: float) -> None:
        """Note the end of a run. Of the ticks that have passed meanwhile one is made up for, at once."""
        if self._interval is None:
            self.next_at = now + (self._delay or 0.0) + self._before
            return
        passed = math.floor((now - self._first) / self._interval)
        self._tick = max(self._tick + 1, passed)
        self.next_at = self._first + self._tick * self._interval + self._before


def _wait_for(instance: Instance, triggers: Triggers, moment: float) -> bool:
    """Wait, and run for triggers meanwhile; return False if the instance is to stop."""
    control = instance.here.control
    while not control.asked:
        left = moment - time.monotonic()
        # Even when it is time already: with runs that are too long, it always is.
        if control.wait(max(0.0, left)):
            while triggers.handle() and not control.asked:
                pass
        elif left <= 0:
            return True
    return False


OF_KIND: dict[Kind, Callable[[Instance], None]] = {
    Kind.CONTINUOUS: endless,
    Kind.ASYNC: endless,
    Kind.QUEUE: queue,
    Kind.EVENT: event,
    Kind.INTERVAL: interval,
}
