"""One call that was captured."""

import functools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from autotask import payload
from autotask.definition import Definition
from autotask.handle import TaskHandle
from autotask.store.enqueue import NewTask


@dataclass(eq=False)
class Enqueued:
    """A call that was stored inside the block of :func:`autotask.testing.captured_tasks`.

    :ivar definition: the task that was called.
    :ivar handle: the return value of the call.
    :ivar name: the name of the task.
    :ivar queue: its queue.
    :ivar priority: its priority.
    :ivar due: when it is due, by the clock of the test.
    :ivar expires: when it expires, so that no attempt begins; None: never.
    """

    definition: Definition[Any, Any]
    handle: TaskHandle[Any]
    name: str
    queue: str
    priority: int
    due: datetime
    expires: datetime | None
    _payload: bytes = field(repr=False)

    @classmethod
    def of(cls, definition: Definition[Any, Any], task: NewTask, now: datetime, since: datetime) -> "Enqueued":
        """Return the call of a task that was stored at that moment.

        :param since: when its first call was stored, whose arguments this one has replaced.
        """
        kind = task.kind
        due = kind.run_after or now + timedelta(seconds=kind.delay)
        if (debounce := definition.options.debounce) is not None and debounce.at_most is not None:
            due = min(due, since + timedelta(seconds=debounce.at_most))
        expires = kind.expires_at
        if expires is None and kind.expires is not None:
            expires = due + timedelta(seconds=kind.expires)
        handle: TaskHandle[Any] = TaskHandle(task.id, kind.name)
        return cls(definition, handle, kind.name, kind.queue, kind.priority, due, expires, task.payload)

    def bound(self) -> dict[str, Any]:
        """Return the arguments by the names of the parameters, defaults included."""
        return self.definition.bound(self.args, self.kwargs)

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments by position, as the function gets them: a copy, made by pickling."""
        return self._arguments[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments by name, as above."""
        return self._arguments[1]

    @functools.cached_property
    def _arguments(self) -> payload.Arguments:
        return self.definition.as_called(*payload.load_arguments(self._payload, id=self.handle.id, name=self.name))
