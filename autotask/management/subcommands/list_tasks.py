"""``list``: the newest tasks."""

from argparse import ArgumentParser
from collections.abc import Sequence

from autotask import reasons
from autotask.documents import task_document
from autotask.flow import LIMIT, RATE
from autotask.management.arguments import plain_name, whole
from autotask.management.console import Console, open_tables
from autotask.management.lookup import task_meant
from autotask.management.subcommand import Subcommand
from autotask.store import pauses, read
from autotask.store.pauses import Pause
from autotask.store.read import StoredTask
from autotask.task import State, Status
from autotask.texts import render
from autotask.texts.lines import one_line

#: Characters of an error or a reason that are shown.
ERROR_LENGTH = 60

#: The values of --state: the words of ``handle.status``, and one of those that are WAITING.
_STATES = {status.value: [state for state in State if state.status is status] for status in Status} | {
    "held": [State.HELD]
}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--state", choices=list(_STATES), help="Only tasks in this state.")
    parser.add_argument("--queue", type=plain_name, help="Only tasks of this queue.")
    parser.add_argument("--name", type=plain_name, help="Only tasks of this name (module.function, in full).")
    parser.add_argument("--tag", type=plain_name, help="Only tasks with this tag.")
    parser.add_argument("--subject", help="Only tasks about this object, such as shop.order:42.")
    parser.add_argument(
        "--gate", help="Only tasks that wait at this limit, at this rate, or for this paused task or queue."
    )
    parser.add_argument(
        "--limit", type=whole(1, 10_000), default=20, metavar="N", help="Show at most N. Default: %(default)s."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(
    console: Console,
    *,
    state: str | None,
    queue: str | None,
    name: str | None,
    tag: str | None,
    subject: str | None,
    gate: str | None,
    limit: int,
    json: bool,
) -> None:
    """Print the newest tasks."""
    states = _STATES[state] if state is not None else []
    gates = [] if gate is None else _gates(gate)
    connection = open_tables()
    tasks = read.newest(
        connection, states=states, gates=gates, queue=queue, name=name, tags=tag, subject=subject, limit=limit
    )
    if json:
        console.say(render.as_json({"tasks": [task_document(task) for task in tasks]}))
    elif tasks:
        head = ("ID", "STATE", "NAME", "QUEUE", "PRIORITY", "ATTEMPTS", "PROGRESS", "CREATED", "ERROR OR REASON")
        in_force = pauses.read(connection)
        body = [_row(task, in_force) for task in tasks]
        console.say(*render.table(head, body, right=("PRIORITY", "ATTEMPTS", "PROGRESS")))
    else:
        console.complain(f"No tasks match{task_meant(name)}.")


def _gates(text: str) -> list[str]:
    """Return the gates that people mean by a name, with or without its kind."""
    kinds = (LIMIT, RATE, pauses.GATE, pauses.QUEUE_GATE)
    return [text] if text.startswith(kinds) else [kind + text for kind in kinds]


def _row(task: StoredTask, in_force: Sequence[Pause]) -> tuple[object, ...]:
    held = task.state is State.HELD
    why = reasons.brief(task.name, task.gate, in_force) if held and task.gate else task.error_message
    if task.state is State.DONE and task.was_asked_to_stop:
        why = "after it was asked to stop"
    if task.expired:
        why = "result expired" + (f": {why}" if why else "")
    return (
        task.id,
        "held" if held else task.state.status.value,
        task.name,
        task.queue,
        task.priority,
        task.attempt,
        task.progress or "",
        render.moment(task.created_at),
        one_line(why, ERROR_LENGTH),
    )


SUBCOMMAND = Subcommand(
    name="list",
    help="List tasks, newest first.",
    description="List tasks that wait, run, or have finished, newest first. For a day (AUTOTASK_HISTORY) it also lists finished "
    "tasks whose results are gone.",
    examples=(
        ("list", "the last twenty tasks"),
        ("list --state error --limit 100", "tasks that failed"),
        ("list --gate openai", "tasks that wait for a slot of the limit openai"),
        ("list --queue mail --name shop.tasks.send_mail --json", "tasks of one queue and name, as JSON"),
    ),
    add_arguments=add_arguments,
    run=run,
    gives_reasons=True,
)
