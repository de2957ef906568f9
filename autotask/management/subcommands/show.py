"""``show``: one task in detail."""

from argparse import ArgumentParser

from autotask.documents import MOST_ATTEMPTS, task_in_full, task_in_full_document
from autotask.management import details
from autotask.management.console import NOT_FOUND, Console, failure, open_tables
from autotask.management.lookup import find_id
from autotask.management.subcommand import Subcommand
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("id", metavar="ID", help="Id of the task, or its first eight or more digits.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, id: str, json: bool) -> None:
    """Print one task."""
    connection = open_tables()
    seen = task_in_full(connection, find_id(connection, id))
    if seen is None:
        raise failure(f"Task {id} has just been pruned.", NOT_FOUND)
    console.say(*([render.as_json(task_in_full_document(seen))] if json else details.lines(seen)))


SUBCOMMAND = Subcommand(
    name="show",
    help="Show one task with its failed attempts and their tracebacks.",
    description=f"Show one task with the last {MOST_ATTEMPTS} attempts that did not succeed and their tracebacks. Arguments are shown as "
    "shortened text, with secrets masked. The result is not shown: it would have to be unpickled.",
    examples=(
        ("show 01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e", "one task"),
        ("show 01930f3e6b1c7c --json", "the same by the first digits of its id, as JSON"),
    ),
    add_arguments=add_arguments,
    run=run,
)
