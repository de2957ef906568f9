"""Doubts about the name of a pause: a misspelled one holds nothing, but another deployment may have what this one lacks."""

from dataclasses import dataclass

from autotask import registry
from autotask.flow.plan import present_limits
from autotask.site_limits import site
from autotask.store.pauses import Kind
from autotask.texts.similar import meant, similar

_WORDS = {
    Kind.TASK: "No task in the code of this process",
    Kind.LIMIT: "No limit or rate in the code and settings of this process",
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a pause may hold nothing; as text, a sentence.

    :ivar kind: of the pause: a task, or a limit.
    :ivar name: the name that nothing has here; that of a limit without its key.
    :ivar similar: names that may be meant.
    """

    kind: Kind
    name: str
    similar: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_WORDS[self.kind]} has the name {self.name}{meant(self.similar)}."


def doubt(kind: Kind, name: str) -> Doubt | None:
    """Return a doubt about a task or a limit that is neither in the code nor in the settings of this process.

    :returns: None if it is there. Queues need not be known anywhere before a task is in them.
    """
    definitions = registry.definitions()
    if kind is Kind.TASK:
        known = {each.name for each in definitions}
    elif kind is Kind.LIMIT:
        name = name.partition("(")[0]
        rates = {each.name for each in definitions if each.options.rate is not None}
        known = rates | set(present_limits(((each.name, each.options.concurrency) for each in definitions), site()))
    else:
        return None
    return None if name in known else Doubt(kind, name, tuple(similar(name, sorted(known))))
