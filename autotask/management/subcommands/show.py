"""``show``: one task in detail."""

import uuid
from argparse import ArgumentParser

from autotask import logs
from autotask.documents import MOST_ATTEMPTS, task_in_full, task_in_full_document
from autotask.log_files import LogText
from autotask.management import details
from autotask.management.console import NOT_FOUND, Console, failure, open_tables
from autotask.management.lookup import find_id
from autotask.management.subcommand import Subcommand
from autotask.texts import render

#: In bytes, of the log.
MOST_OF_LOG = 2**20


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("id", metavar="ID", help="Id of the task, or its first eight or more digits.")
    parser.add_argument("--log", action="store_true", help="Also print the log file of the task on this host.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, id: str, log: bool, json: bool) -> None:
    """Print one task."""
    connection = open_tables()
    seen = task_in_full(connection, find_id(connection, id, past=True))
    if seen is None:
        raise failure(f"Task {id} has just been pruned.", NOT_FOUND)
    written = _read_log(seen.task.id) if log else None
    if json:
        document = task_in_full_document(seen)
        console.say(render.as_json(document | {"log": written and written.text} if log else document))
        return
    console.say(*details.lines(seen), *(details.log_lines(written) if written else ()))
    if log and not written:
        console.complain(_no_log())


def _read_log(id: uuid.UUID) -> LogText | None:
    try:
        return logs.read(id, MOST_OF_LOG)
    except OSError as error:
        raise failure(f"The log file of task {id} cannot be read: {error.strerror}") from error


def _no_log() -> str:
    folder = logs.folder()
    if folder is None:
        return "There are no log files of tasks: AUTOTASK_LOG_DIR is not set."
    return f"The task has no log file in {folder}. Each host has those of the attempts that ran there."


SUBCOMMAND = Subcommand(
    name="show",
    help="Show one task with its failed attempts and their tracebacks.",
    description=f"Show one task with the last {MOST_ATTEMPTS} attempts that did not succeed and their tracebacks. Arguments are shown as "
    "shortened text, with secrets masked. The result is not shown: it would have to be unpickled.",
    examples=(
        ("show 01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e", "one task"),
        ("show 01930f3e6b1c7c --log", "the same by the first digits of its id, with its log file"),
        ("show 01930f3e6b1c7c --json", "the same, as JSON"),
    ),
    add_arguments=add_arguments,
    run=run,
    gives_reasons=True,
)
