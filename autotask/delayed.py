"""The definition of a task that is called like its function."""

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from autotask.conf import settings
from autotask.definition import Definition
from autotask.handle import TaskHandle
from autotask.other_words import missing, of_calls

P = ParamSpec("P")
R = TypeVar("R")


class DelayedTask(Definition[P, R]):
    """The definition that ``@delayed_task`` makes: calling it stores the call."""

    if not TYPE_CHECKING:  # Type checkers should still refuse unknown attributes.

        def __getattr__(self, attribute):
            """Refuse an attribute that other task queues have, and say what to write here."""
            raise missing(self, attribute, of_calls)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Store the call and return the handle of its task, see :meth:`~autotask.definition.Definition.enqueue`.

        With ``AUTOTASK_IS_ACTIVE = False`` it runs the function at once, and returns its value.
        """
        if not settings.IS_ACTIVE:
            return self._in_place()(*args, **kwargs)  # type: ignore[no-any-return]  # the switch undoes the decorator
        return self.enqueue(*args, **kwargs)
