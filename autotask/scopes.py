"""The scopes of API keys: which acts a key allows, on the tasks of which names."""

import fnmatch
import re
from collections.abc import Iterable
from typing import NamedTuple, Self

from autotask.exceptions import InvalidKey

#: The acts that a scope can allow, and what each means.
ACTIONS = {
    "submit": "start tasks",
    "read": "see tasks and their results",
    "cancel": "cancel tasks",
    "retry": "run tasks again that failed or were cancelled",
    "discard": "delete tasks that failed or were cancelled",
    "traceback": "see the tracebacks of failed tasks, and logs",
    "metadata": "see what tasks are about: their subjects and their metadata",
    "pull": "fetch tasks of models to run them in another network, as clients of django-simpletask2 do",
}

#: The most scopes of one key.
MOST_SCOPES = 100

_PATTERN = re.compile(r"[\w.:<>*?\[\]!-]{1,200}")


class Scope(NamedTuple):
    """An act, and a pattern of the names of tasks, with ``*`` and ``?`` as in the names of files."""

    action: str
    pattern: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the scope in a text: ``submit:shop.tasks.*``; without a pattern it is for all names.

        :raises InvalidKey: the text is no scope.
        """
        action, colon, pattern = text.partition(":")
        if action not in ACTIONS:
            raise InvalidKey(problem=f"{text!r} is not a scope: a scope begins with {' or '.join(ACTIONS)}")
        if not _PATTERN.fullmatch(pattern if colon else "*"):
            raise InvalidKey(
                problem=f"{text!r} is not a scope: write {action}:NAME, or a pattern such as {action}:shop.*"
            )
        return cls(action, pattern if colon else "*")

    def __str__(self) -> str:
        return f"{self.action}:{self.pattern}"

    def allows(self, action: str, name: str) -> bool:
        """Whether it allows an act on tasks of a name; "" stands for any."""
        return action == self.action and (not name or fnmatch.fnmatchcase(name, self.pattern))


def scopes_of(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Return the scopes in texts, each once.

    :raises InvalidKey: a text is no scope, or there are none or too many.
    """
    found = tuple(dict.fromkeys(map(Scope.of, texts)))
    if not 1 <= len(found) <= MOST_SCOPES:
        raise InvalidKey(problem=f"it needs from 1 to {MOST_SCOPES} scopes, such as read:* or submit:make_report")
    return found
