"""``list``: the newest tasks."""

from argparse import ArgumentParser

from autotask.documents import task_document
from autotask.management.arguments import plain_name, whole
from autotask.management.console import Console, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store import read
from autotask.store.read import StoredTask
from autotask.task import State, Status
from autotask.texts import render
from autotask.texts.lines import one_line

#: Characters of an error that are shown.
ERROR_LENGTH = 60


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--state", choices=[status.value for status in Status], help="Only tasks in this state.")
    parser.add_argument("--queue", type=plain_name, help="Only tasks of this queue.")
    parser.add_argument("--name", type=plain_name, help="Only tasks of this name (module.function, in full).")
    parser.add_argument("--tag", type=plain_name, help="Only tasks with this tag.")
    parser.add_argument(
        "--limit", type=whole(1, 10_000), default=20, metavar="N", help="Show at most N. Default: %(default)s."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(
    console: Console, *, state: str | None, queue: str | None, name: str | None, tag: str | None, limit: int, json: bool
) -> None:
    """Print the newest tasks."""
    states = [each for each in State if state is not None and each.status == state]
    tasks = read.newest(open_tables(), states=states, queue=queue, name=name, tags=tag, limit=limit)
    if json:
        console.say(render.as_json({"tasks": [task_document(task) for task in tasks]}))
    elif tasks:
        head = ("ID", "STATE", "NAME", "QUEUE", "PRIORITY", "ATTEMPTS", "PROGRESS", "CREATED", "ERROR")
        console.say(*render.table(head, map(_row, tasks), right=("PRIORITY", "ATTEMPTS", "PROGRESS")))
    else:
        console.complain("No tasks match.")


def _row(task: StoredTask) -> tuple[object, ...]:
    return (
        task.id,
        task.state.status.value,
        task.name,
        task.queue,
        task.priority,
        task.attempt,
        task.progress or "",
        render.moment(task.created_at),
        one_line(task.error_message, ERROR_LENGTH),
    )


SUBCOMMAND = Subcommand(
    name="list",
    help="List tasks, newest first.",
    description="List tasks that wait, run, or have finished and are still kept, newest first.",
    examples=(
        ("list", "the last twenty tasks"),
        ("list --state error --limit 100", "tasks that failed"),
        ("list --queue mail --name shop.tasks.send_mail --json", "tasks of one queue and name, as JSON"),
    ),
    add_arguments=add_arguments,
    run=run,
)
