"""``schedules``: the schedules, with their last and next runs."""

from argparse import ArgumentParser

from autotask import agenda
from autotask.documents import agenda_document
from autotask.management import agenda_lines
from autotask.management.console import Console, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store import schedule_runs
from autotask.store.schedules import now
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, json: bool) -> None:
    """Print all schedules."""
    connection = open_tables()
    moment = now(connection)
    entries = agenda.entries(connection)
    last = schedule_runs.last_runs(connection, [entry.name for entry in entries])
    if json:
        console.say(render.as_json(agenda_document(entries, last, moment)))
    elif entries:
        shown = [line for entry in entries for line in ("", *agenda_lines.lines(entry, last.get(entry.name), moment))]
        console.say(*shown[1:])
    else:
        console.complain("There are no schedules. Decorate a function with @periodic_task or @cron_task.")


SUBCOMMAND = Subcommand(
    name="schedules",
    help="List periodic and cron tasks with their last and next runs.",
    description="List the periodic and cron tasks that are registered or in the code: when they are due, whether they are "
    "paused and by whom, how the last run ended, and the next three ticks. Times are in the time zone of the schedule.",
    examples=(
        ("schedules", "all of them"),
        (
            "schedules --json | jq '.schedules[] | select(.last_run.state == \"error\")'",
            "those whose last run failed",
        ),
    ),
    add_arguments=add_arguments,
    run=run,
)
