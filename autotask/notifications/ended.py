"""An ended task as its notices tell of it."""

from dataclasses import dataclass
from typing import Any

from autotask import payload
from autotask.envelopes import MAGIC
from autotask.store.read import StoredTask
from autotask.task import State, Status
from autotask.texts.lines import describe


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended task.

    :ivar value: the result; None unless it is DONE.
    :ivar problem: why the result cannot be read; "" if it can.
    """

    task: StoredTask
    value: Any = None
    problem: str = ""

    @classmethod
    def of(cls, task: StoredTask) -> "Ended":
        """Return a task with its result."""
        if task.state is not State.DONE:
            return cls(task)
        try:
            value = payload.load_result(task.value, id=task.id, fence=task.fence or 0)
        except Exception as error:  # unpickling can raise anything, and trying again is no use
            return cls(task, problem=describe(error))
        return cls(task, _as_returned(value, task.name))

    @property
    def status(self) -> Status:
        """The state in which it has ended."""
        return self.task.state.status


def _as_returned(value: Any, name: str) -> Any:
    """Return the value that the function has returned: tasks of Django store more."""
    match value:
        case (returned, str(of), bytes(arguments)) if of == name and arguments.startswith(MAGIC):
            return returned
    return value
