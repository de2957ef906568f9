"""``next``: when a schedule is due, and the effect of clock changes on it."""

from argparse import ArgumentParser

from autotask.agenda import forecast
from autotask.documents import forecast_document
from autotask.management import agenda_lines
from autotask.management.arguments import whole
from autotask.management.console import Console, failure, open_tables
from autotask.management.lookup import find_schedule
from autotask.management.subcommand import Subcommand
from autotask.store.schedules import now
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("name", metavar="NAME", help="Name of the schedule.")
    parser.add_argument(
        "--count", type=whole(1, 10_000), default=20, metavar="N", help="Show N ticks. Default: %(default)s."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, name: str, count: int, json: bool) -> None:
    """Print the next ticks."""
    connection = open_tables()
    entry, moment = find_schedule(connection, name), now(connection)
    if entry.timetable is None:
        raise failure(f"The timetable of {name} ({entry.in_words()}) is not in the code of this process.")
    seen = forecast(entry, moment, count)
    if json:
        console.say(render.as_json(forecast_document(seen)))
        return
    console.say(*agenda_lines.tick_lines(seen))
    for title, texts in (("Later:", seen.later), ("Time zone data:", seen.zone_data)):
        if texts:
            console.say("", title, *(f"  {text}" for text in texts))


SUBCOMMAND = Subcommand(
    name="next",
    help="Show when a schedule is due, and the effect of clock changes on it.",
    description="Show the next ticks of a schedule in its time zone. If a clock change affects a tick, a remark explains it: "
    "later, once only, or left out. Later clock changes within a year are listed below the ticks.",
    examples=(
        ("next shop.tasks.send_reports", "the next twenty ticks"),
        ("next shop.tasks.send_reports --count 400 --json", "the next 400, as JSON"),
    ),
    add_arguments=add_arguments,
    run=run,
)
