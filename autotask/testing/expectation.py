"""Pure: the call that a test expects, whether a call matches it, and the message if none does."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotask import registry
from autotask.definition import Definition
from autotask.testing.enqueued import Enqueued


class DjangoTaskLike(Protocol):
    """A task of Django's tasks framework, made by its ``@task``."""

    func: Callable[..., Any]

    @property
    def module_path(self) -> str:
        """The path of the function; with the backend of autotask, the name of the task."""


class TaskClassLike(Protocol):
    """A task that is a class, or a background worker."""

    definition: Any


TaskLike = Definition[Any, Any] | DjangoTaskLike | type[TaskClassLike] | TaskClassLike | str

#: Characters after which a value is cut off in messages.
_LONGEST_VALUE = 200

#: Calls listed in a message at most.
_MOST_LISTED = 20

#: The name of another task that is at least this similar counts as a near miss.
_LIKENESS = 0.6


@dataclass(frozen=True, slots=True)
class Expectation:
    """A call as a test describes it.

    :ivar arguments: by position and by name; None: any.
    :ivar queue: None: any.
    """

    name: str
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]] | None
    queue: str | None

    @classmethod
    def of(
        cls, task: TaskLike, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, queue: str | None
    ) -> "Expectation":
        """Return the described call.

        :raises UnknownTask: there is no task of that name.
        :raises TypeError: it is not a task, or the arguments do not fit it.
        """
        arguments = None if args is None and kwargs is None else (tuple(args or ()), dict(kwargs or {}))
        if isinstance(task, str):
            task = registry.get(task)
        if isinstance(of_other := getattr(task, "definition", None), Definition):  # a task class or a background worker
            task = of_other
        if isinstance(task, Definition):
            if arguments is not None:
                task.bound(*arguments)  # a call that is impossible was never enqueued: the test is wrong
            return cls(task.name, arguments, queue)
        if isinstance(task, type) or not hasattr(task, "module_path"):
            raise TypeError(f"Expected a decorated function, a task class or the name of a task, got {task!r}.")
        return cls(task.module_path, arguments, queue)

    def is_met_by(self, call: Enqueued) -> bool:
        """Whether a call matches."""
        return call.name == self.name and not self._differences(call)

    def missing(self, calls: Sequence[Enqueued]) -> str:
        """Return the message when none of the calls matches."""
        lines = [f"{self} was not enqueued."]
        if near := self._nearest(calls):
            lines.append(f"Nearest: {shown(near)}")
            lines += [f"    {difference}" for difference in self._differences(near)]
        return "\n".join([*lines, _listed(calls)])

    def unwanted(self, calls: Sequence[Enqueued]) -> str:
        """Return the message about calls that should not have been enqueued."""
        return "\n".join([f"{self} was enqueued.", *(f"    {shown(call)}" for call in calls[:_MOST_LISTED])])

    def __str__(self) -> str:
        queue = "" if self.queue is None else f" in queue {self.queue!r}"
        if self.arguments is None:
            return f"{self.name}(…){queue}"
        args, kwargs = self.arguments
        return f"{self.name}({', '.join([*map(_value, args), *_named(kwargs)])}){queue}"

    def _differences(self, call: Enqueued) -> list[str]:
        if call.name != self.name:
            return [f"is a different task from {self.name}"]
        found = []
        if self.arguments is not None:
            given, expected = call.bound(), call.definition.bound(*self.arguments)
            found = [
                f"{name} is {_value(given.get(name))}, not {_value(expected.get(name))}"
                for name in given.keys() | expected.keys()
                # In this order: the test may expect unittest.mock.ANY, whose comparison has to come first.
                if expected.get(name) != given.get(name)
            ]
        if self.queue is not None and call.queue != self.queue:
            found.append(f"queue is {call.queue!r}, not {self.queue!r}")
        return sorted(found)

    def _nearest(self, calls: Sequence[Enqueued]) -> Enqueued | None:
        """Return the call of the task with the fewest differences, or one of the task with the most similar name."""
        if same := [call for call in calls if call.name == self.name]:
            return min(same, key=lambda call: len(self._differences(call)))
        names = difflib.get_close_matches(self.name, [call.name for call in calls], 1, _LIKENESS)
        return next((call for call in calls if call.name in names), None)


def shown(call: Enqueued) -> str:
    """Return a call as text."""
    arguments = ", ".join(_named(call.bound()))
    return f"{call.name}({arguments}) in queue {call.queue!r}, due {call.due:%Y-%m-%d %H:%M:%S %Z}"


def _listed(calls: Sequence[Enqueued]) -> str:
    if not calls:
        return "Nothing was enqueued."
    lines = [f"    {shown(call)}" for call in calls[:_MOST_LISTED]]
    if len(calls) > _MOST_LISTED:
        lines.append(f"    and {len(calls) - _MOST_LISTED} more")
    return "\n".join([f"Enqueued ({len(calls)}):", *lines])


def _named(arguments: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_value(value)}" for name, value in arguments.items()]


def _value(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # a __repr__ may raise anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
