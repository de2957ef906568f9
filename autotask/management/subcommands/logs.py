"""``logs``: the lines that a task has logged."""

import contextlib
import time
import uuid
from argparse import ArgumentParser

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import logs
from autotask.conf import settings
from autotask.management.arguments import whole
from autotask.management.console import Console, open_tables
from autotask.management.lookup import find_id
from autotask.management.subcommand import Subcommand
from autotask.store import read, task_logs
from autotask.store.task_logs import Place

#: Seconds between two looks for further lines.
LOOK_EVERY = 1.0

#: Seconds after the end of a task within which its last lines are stored.
LAST_LINES = 2.0


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("id", metavar="ID", help="Id of the task, or its first eight or more digits.")
    parser.add_argument(
        "--attempt", type=whole(1, task_logs.LAST_ATTEMPT), metavar="N", help="Only the lines of this attempt, from 1."
    )
    parser.add_argument(
        "--follow", action="store_true", help="Keep printing new lines until the task has ended, or Ctrl-C."
    )


def run(console: Console, *, id: str, attempt: int | None, follow: bool) -> None:
    """Print the lines of one task."""
    connection = open_tables()
    task_id = find_id(connection, id, past=True)
    place = Place()
    _say(console, connection, task_id, attempt, place)
    if follow:
        # Ctrl-C is an intended end.
        with contextlib.suppress(KeyboardInterrupt):
            _follow(console, connection, task_id, attempt, place)
    if not place.seen:
        console.complain(_nothing(task_id))


def _follow(
    console: Console, connection: BaseDatabaseWrapper, task_id: uuid.UUID, attempt: int | None, place: Place
) -> None:
    until: float | None = None
    while until is None or time.monotonic() < until:
        if until is None and _has_ended(connection, task_id):
            until = time.monotonic() + LAST_LINES
        time.sleep(LOOK_EVERY)
        _say(console, connection, task_id, attempt, place)


def _say(
    console: Console, connection: BaseDatabaseWrapper, task_id: uuid.UUID, attempt: int | None, place: Place
) -> None:
    """Print the lines that are not printed yet."""
    if lines := task_logs.new_lines(connection, task_id, attempt, place):
        console.say(*lines.splitlines())


def _has_ended(connection: BaseDatabaseWrapper, task_id: uuid.UUID) -> bool:
    task = read.task(connection, task_id)
    return task is None or task.state.ended


def _nothing(task_id: uuid.UUID) -> str:
    if logs.folder() is not None:
        return f"There are no lines in the database; for its file: autotask show {task_id} --log"
    if settings.LOGS is None:
        return "No lines are kept: AUTOTASK_LOGS is not set."
    return "The task has logged nothing that is kept."


SUBCOMMAND = Subcommand(
    name="logs",
    help="Show the log lines of a task.",
    description="Show the log lines of a task that are kept in the database (AUTOTASK_LOGS), with secrets masked. For "
    "log files on this host (AUTOTASK_LOG_DIR), see: autotask show ID --log.",
    examples=(
        ("logs 01930f3e", "all lines, by the first digits of the id"),
        ("logs 01930f3e --follow", "and those to come, until the task has ended"),
        ("logs 01930f3e --attempt 2", "those of its second attempt"),
    ),
    add_arguments=add_arguments,
    run=run,
)
