"""Find the task for an id or the beginning of one, and the schedule for a name."""

import re
import uuid
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from django.core.management.base import CommandError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import agenda, registry
from autotask.agenda import Entry
from autotask.management.console import FAILED, NOT_FOUND, Console, failure, open_tables
from autotask.store import find
from autotask.texts import advice, similar

T = TypeVar("T")

#: Ids begin with the time, so fewer digits would hardly ever be unique.
SHORTEST = 8

_DIGITS = re.compile(rf"[0-9a-f]{{{SHORTEST},32}}")


def find_id(connection: BaseDatabaseWrapper, text: str, *, past: bool = False) -> uuid.UUID:
    """Return the id of the one task whose id is, or begins with, the text.

    :param past: whether a task will do whose result is gone.
    :raises CommandError: the text is not an id, or it fits no task or several.
    """
    digits = text.strip().lower().replace("-", "")
    if not _DIGITS.fullmatch(digits):
        raise failure(
            f"{text[:80]!r} is not the id of a task, nor its first {SHORTEST} or more hexadecimal digits.", NOT_FOUND
        )
    first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
    found = find.between(connection, first, last)
    if not found:
        raise failure(
            f"There is no task {text}: it was pruned after its time to live, or was never committed.", NOT_FOUND
        )
    if len(found) > 1:
        raise failure(f"The ids of several tasks begin with {text}: give more digits.", FAILED)
    [(id, is_past)] = found.items()
    if is_past and not past:
        raise failure(f"Task {id} has ended, and its result is gone, with its arguments.", NOT_FOUND)
    return id


def any_id(connection: BaseDatabaseWrapper, text: str) -> uuid.UUID:
    """Return the id in a text if it is a whole one, whether there is such a task or not; otherwise as :func:`find_id`."""
    digits = text.strip().lower().replace("-", "")
    return (
        uuid.UUID(digits) if len(digits) == 32 and _DIGITS.fullmatch(digits) else find_id(connection, text, past=True)
    )


def find_schedule(connection: BaseDatabaseWrapper, name: str) -> Entry:
    """Return the schedule of that name.

    :raises CommandError: there is none; the message suggests similar names.
    """
    known = {entry.name: entry for entry in agenda.entries(connection)}
    if name not in known:
        suggestion = _task_of(name) or meant(name, known)
        others = "" if suggestion else f" To list them: {advice.manage('schedules')}"
        raise failure(f"There is no schedule {name[:80]!r}{suggestion}.{others}", NOT_FOUND)
    return known[name]


def _task_of(name: str) -> str:
    """Return the name by which commands know a task function that is no schedule; "" if there is none of that name."""
    if all(definition.name != name for definition in registry.definitions()):
        return ""
    return f": this is a task function. To pause or resume its tasks, write --task {name}"


def meant(name: str, known: Iterable[str]) -> str:
    """Return a suggestion of known names that are like an unknown one; "" if there is none."""
    return similar.meant(similar.similar(name, known))


def refuse_unknown_schedules(names: Iterable[str]) -> None:
    """Refuse names that no schedule has, before anything else is done.

    :raises CommandError: there is one.
    """
    connection = open_tables()
    for name in names:
        find_schedule(connection, name)


def add_ids(parser: ArgumentParser) -> None:
    """Define the argument that names tasks."""
    parser.add_argument("ids", metavar="ID", nargs="+", help="Ids of tasks, or their first eight or more digits.")


def for_each_task(console: Console, ids: Sequence[str], act: Callable[[uuid.UUID], str]) -> None:
    """Act on each task, and print the answers; a failure does not stop the others."""
    connection = open_tables()
    for_each(console, ids, lambda text: act(find_id(connection, text)))


def for_each_schedule(console: Console, names: Sequence[str], act: Callable[[Entry], str]) -> None:
    """Do the same for schedules."""
    connection = open_tables()
    for_each(console, names, lambda name: act(find_schedule(connection, name)))


def for_each(console: Console, items: Sequence[T], act: Callable[[T], str]) -> None:
    """Act on each item, and print the answers; a failure does not stop the others."""
    problems = []
    for item in items:
        try:
            console.say(act(item))
        except CommandError as problem:
            problems.append(problem)
    if len(items) == 1 and problems:
        raise problems[0]
    if problems:
        console.complain(*(str(problem) for problem in problems))
        worst = max(problem.returncode for problem in problems)
        raise failure(f"{len(problems)} of {len(items)} failed.", worst)


def task_meant(name: str | None) -> str:
    """Return a suggestion for the name of a task that the code of this process does not have; "" if it has it."""
    known = [definition.name for definition in registry.definitions()]
    return "" if name is None or name in known else meant(name, known)
