"""The background workers that something makes run: a queue, an event or a clock; and those on an event loop."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async

from autotask import handover
from autotask.background.options import SITE, Kind
from autotask.background.workers import BackgroundWorker
from autotask.conf import settings
from autotask.exceptions import InvalidOption
from autotask.handle import TaskHandle
from autotask.store import background, triggers
from autotask.store.connection import current


class BackgroundAsyncWorker(BackgroundWorker):
    """The same for a coroutine function, which runs on an event loop."""

    _kind = Kind.ASYNC


class BackgroundQueueWorker(BackgroundWorker):
    """Handles what is put into its queue, in order, one after the other.

    With ``concurrency=4`` it handles up to four values at a time: they begin in order. With ``per="host"`` or
    ``per="process"`` several workers take values from the same queue, each value once.

    ::

        @background_worker(queue=True)
        def send(mail, **kwargs): ...

        send.put({"to": "a@example.org"})
    """

    _kind = Kind.QUEUE

    def put(self, task: Any, *, priority: int | None = None) -> TaskHandle[Any] | None:
        """Put a value into the queue. It is there if and only if the caller's transaction commits, until it is handled.

        :param task: any value that can be pickled; None is one.
        :param priority: −100 to 100; larger ones are handled first, equal ones in the order of putting.
        :returns: its handle; None with ``AUTOTASK_IS_ACTIVE = False``, where it is handled at once.
        :raises UnpicklableArgument: the value cannot be pickled.
        :raises PayloadTooLarge: it takes more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
        :raises InvalidOption: the priority is out of its range.
        """
        return self._message((task,), priority)

    async def aput(self, task: Any, *, priority: int | None = None) -> TaskHandle[Any] | None:
        """Like :meth:`put`, from a coroutine."""
        return await sync_to_async(self.put)(task, priority=priority)


class _Triggered(BackgroundWorker):
    def trigger(self, force: bool = False) -> TaskHandle[Any] | None:
        """Have it run once, at once. Triggers that come before that run has begun are one.

        A trigger during a run makes one more run. It is remembered if and only if the caller's transaction commits, until
        that run has ended. With ``per="host"`` or ``per="process"`` each of those that there are runs once.

        :param force: without effect; it is there for programs that were written for atasker.
        :returns: its handle. None if there is one per host or process: each run is on its own. None with
            ``AUTOTASK_IS_ACTIVE = False``, where the function runs at once.
        """
        if self.options.per == SITE or not settings.IS_ACTIVE:
            return self._message((), None)
        if settings.IMMEDIATE:
            self.handle("")
        else:
            triggers.trigger(current(), self.name)
            background.call(current(), self.name, handover.call_for)
        return None

    async def atrigger(self, force: bool = False) -> TaskHandle[Any] | None:
        """Like :meth:`trigger`, from a coroutine."""
        return await sync_to_async(self.trigger)(force)


class BackgroundEventWorker(_Triggered):
    """Runs when it is triggered."""

    _kind = Kind.EVENT


class BackgroundIntervalWorker(_Triggered):
    """Runs by a clock, and when it is triggered.

    :param interval: seconds from one start to the next. Runs do not overlap: after one that takes longer the next follows
        at once.
    :param delay: seconds from the end of a run to the next start, instead.
    :param delay_before: seconds before each start.
    """

    _kind = Kind.INTERVAL

    def __init__(self, name: str | None = None, func: Callable[..., Any] | None = None, **options: Any) -> None:
        if not any(options.get(option) is not None for option in ("interval", "delay", "delay_before")):
            raise InvalidOption(
                option="interval",
                where=type(self).__name__,
                expected="a number of seconds, unless delay or delay_before is given",
                value=options.get("interval"),
            )
        super().__init__(name, func, **options)


CLASSES: dict[Kind, type[BackgroundWorker]] = {
    Kind.CONTINUOUS: BackgroundWorker,
    Kind.ASYNC: BackgroundAsyncWorker,
    Kind.QUEUE: BackgroundQueueWorker,
    Kind.EVENT: BackgroundEventWorker,
    Kind.INTERVAL: BackgroundIntervalWorker,
}
