"""The queues, tasks, limits and schedules that a command pauses or resumes."""

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from autotask.management.arguments import plain_name
from autotask.management.console import USAGE, failure

#: The options, and the keywords of the acts.
KINDS = ("queue", "task", "limit")


def add_targets(parser: ArgumentParser) -> None:
    """Define the arguments that name them."""
    parser.add_argument("names", metavar="SCHEDULE", nargs="*", help="Names of schedules.")
    parser.add_argument("--queue", action="append", type=plain_name, default=[], metavar="NAME", help="A queue.")
    parser.add_argument(
        "--task", action="append", type=plain_name, default=[], metavar="NAME", help="All tasks of a name."
    )
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME",
        help="A limit or a rate, like openai, or one of its keys, like 'shop.tasks.sync(account_id=7)'.",
    )
    parser.add_argument("--everything", action="store_true", help="All tasks of all queues.")


def targets(
    names: Iterable[str], queue: Iterable[str], task: Iterable[str], limit: Iterable[str], everything: bool
) -> list[dict[str, Any]]:
    """Return the keywords of the act for each of them, without schedules.

    :raises CommandError: nothing is named at all.
    """
    found: list[dict[str, Any]] = [
        {kind: name} for kind, given in zip(KINDS, (queue, task, limit), strict=True) for name in given
    ]
    found += [{"everything": True}] if everything else []
    if not found and not names:
        raise failure("Name schedules, or give --queue, --task, --limit or --everything.", USAGE)
    return found


def described(target: dict[str, Any]) -> str:
    """Return the words for a target: "queue mail"."""
    ((kind, name),) = target.items()
    return kind if kind == "everything" else f"{kind} {name}"
