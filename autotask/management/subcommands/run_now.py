"""``run``: run the tasks of schedules, or delayed tasks with given arguments, now."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, NamedTuple

from autotask import display, registry
from autotask.acts import schedules
from autotask.agenda import entries
from autotask.delayed import DelayedTask
from autotask.exceptions import AutotaskError, WaitTimeout
from autotask.handle import TaskHandle
from autotask.management.console import NOT_FOUND, USAGE, Console, failure, open_tables
from autotask.management.lookup import for_each, meant
from autotask.management.subcommand import Subcommand

#: Seconds of waiting after which the command says why it takes so long: perhaps no worker is running.
PATIENCE = 5.0


class Call(NamedTuple):
    """The tasks to run.

    :ivar arguments: as JSON; None: without.
    """

    name: str
    arguments: str | None = None


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "calls",
        metavar="NAME [JSON]",
        nargs="+",
        help="Names of schedules and of delayed tasks. The arguments of a delayed task follow its name: as an object, by "
        "name, or as an array, by position.",
    )
    parser.add_argument(
        "--wait", action="store_true", help="Wait until the tasks have ended, and print their outcomes."
    )


def run(console: Console, *, calls: Sequence[str], wait: bool) -> None:
    """Enqueue a task of each of them."""
    open_tables()
    handles: list[TaskHandle[Any]] = []

    def enqueue(call: Call) -> str:
        handles.append(handle := _enqueued(call))
        return f"{call.name} is enqueued as {handle.id}"

    for_each(console, _calls(calls), enqueue)
    if wait:
        for_each(console, handles, lambda handle: _end(console, handle))


def _calls(texts: Sequence[str]) -> list[Call]:
    found: list[Call] = []
    for text in texts:
        if _is_json_value(text):
            raise failure(
                f"{text[:80]!r} is not the name of a task. Give the arguments of a task as one JSON array or object: "
                "run NAME '[1, 2]', or run NAME '{\"x\": 1}'.",
                USAGE,
            )
        if not text.lstrip().startswith(("{", "[")):
            found.append(Call(text))
        elif not found or found[-1].arguments is not None:
            raise failure(f"{text[:80]!r} follows no name of a task.", USAGE)
        else:
            found[-1] = found[-1]._replace(arguments=text)
    return found


def _is_json_value(text: str) -> bool:
    """Whether it is one argument as JSON, such as a number: what people write who take the command for a call."""
    try:
        return not isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _enqueued(call: Call) -> TaskHandle[Any]:
    definition = registry.known(call.name)
    if isinstance(definition, DelayedTask):
        return _called(definition, call)
    if definition is not None and call.name not in registry.schedules():
        raise failure(f"{call.name} is neither a schedule nor a delayed task: it cannot be run from here.")
    if call.arguments is not None and definition is not None:
        raise failure(f"{call.name} is a schedule: its tasks have no arguments.", USAGE)
    [answer] = schedules.run([call.name])
    if answer.is_done:
        return TaskHandle(str(answer.enqueued), call.name)
    known = {entry.name for entry in entries(open_tables())}
    if call.name in known:
        raise failure(f"{call.name} is not in the code of this process, so it cannot be run from here.")
    delayed = {each.name for each in registry.definitions() if isinstance(each, DelayedTask)}
    raise failure(
        f"There is no schedule or task {call.name[:80]!r}{meant(call.name, sorted(known | delayed))}.", NOT_FOUND
    )


def _called(definition: DelayedTask[..., Any], call: Call) -> TaskHandle[Any]:
    try:
        given = {} if call.arguments is None else json.loads(call.arguments)
    except (ValueError, RecursionError) as error:
        raise failure(f"The arguments of {call.name} are not JSON: {error}", USAGE) from error
    try:
        if isinstance(given, list) and not definition.parameters.are_whole:
            return definition.enqueue(*given)
        args, kwargs = definition.parameters.from_object(given, call.name)
        return definition.enqueue(*args, **kwargs)
    except TypeError as error:
        raise failure(str(error), USAGE) from error


def _end(console: Console, handle: TaskHandle[Any]) -> str:
    try:
        value = _value(console, handle)
    except AutotaskError as error:
        raise failure(str(error)) from error
    return f"{handle.id} is done, {display.Positional(('result',)).shown((value,))}"


def _value(console: Console, handle: TaskHandle[Any]) -> Any:
    try:
        return handle.wait(PATIENCE)
    except WaitTimeout as waiting:
        console.complain(str(waiting))
    return handle.wait()


SUBCOMMAND = Subcommand(
    name="run",
    help="Run schedules or delayed tasks now.",
    description="Enqueue tasks now. The task of a schedule runs in addition to its ticks: it does not move them, and "
    "it runs even if the schedule is paused or an earlier task of it still runs. A delayed task is called "
    "with the arguments that follow its name. With --wait, exit code 1 means that a task has failed or "
    "was cancelled.",
    examples=(
        ("run shop.tasks.send_reports", "one schedule"),
        ("run shop.tasks.send_reports | awk '{print $NF}'", "print only the id of its task"),
        ("""run shop.tasks.add '{"x": 1, "y": 2}' --wait""", "call a delayed task, and print its result"),
        ("run shop.tasks.add '[1, 2]'", "the same by position, without waiting"),
    ),
    add_arguments=add_arguments,
    run=run,
)
