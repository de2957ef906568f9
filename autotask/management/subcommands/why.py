"""``why``: why a task does not run, or what it does."""

from argparse import ArgumentParser

from autotask import why
from autotask.management.console import Console
from autotask.management.lookup import any_id
from autotask.management.subcommand import Subcommand
from autotask.store.connection import current
from autotask.texts import render
from autotask.why import Explanation


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("id", metavar="ID", help="Id of the task, or its first eight or more digits.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, id: str, json: bool) -> None:
    """Explain one task."""
    connection = current()
    found = why.explain(connection, any_id(connection, id))
    if json:
        console.say(render.as_json(why.document(found)))
    else:
        console.say(*lines(found))


def lines(found: Explanation) -> list[str]:
    """Return an explanation."""
    shown = [f"{found.code}: {found.sentence}"]
    shown += [found.advice] if found.advice else []
    return [*shown, *(["", *(f"  {check}" for check in found.checks)] if found.checks else [])]


SUBCOMMAND = Subcommand(
    name="why",
    help="Explain why a task does not run.",
    description="Explain why a task does not run, or report what it does: with a stable code, a sentence, and advice. "
    "The list below has the checks behind the answer, each with a mark: the first failed check is the "
    "reason. If there are no tables, or the task is not in the database, the answer says so.",
    examples=(
        ("why 01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e", "one task"),
        ("why 01930f3e6b1c7c --json", "the same by the first digits of its id, as JSON"),
    ),
    add_arguments=add_arguments,
    run=run,
)
