"""``next``: when a schedule is due, and what changes of the clock mean for it."""

from argparse import ArgumentParser
from collections import defaultdict
from datetime import datetime, timedelta

from autotask.agenda import Entry
from autotask.management import agenda_lines
from autotask.management.arguments import whole
from autotask.management.console import Console, failure, open_tables
from autotask.management.lookup import find_schedule
from autotask.management.subcommand import Subcommand
from autotask.schedules import zone_data
from autotask.schedules.crontab import Crontab
from autotask.schedules.remarks import Remark, remarks
from autotask.store.schedules import now
from autotask.texts import render

#: How far ahead changes of the clock are told of at least: both of a year.
_YEAR = timedelta(days=366)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("name", metavar="NAME", help="Name of the schedule.")
    parser.add_argument(
        "--count", type=whole(1, 10_000), default=20, metavar="N", help="Show so many. Default: %(default)s."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, name: str, count: int, json: bool) -> None:
    """Print the next due moments."""
    connection = open_tables()
    entry, moment = find_schedule(connection, name), now(connection)
    if entry.timetable is None:
        raise failure(f"The code of this process does not have the timetable of {name}: {entry.in_words()}.")
    ticks = entry.coming(moment, count)
    told = _told(entry, moment, ticks[-1])
    notes: dict[datetime, list[str]] = defaultdict(list)
    for remark in told:
        notes[remark.tick].append(str(remark))
    later = [str(remark) for remark in told if remark.tick > ticks[-1]]
    data = zone_lines(entry, moment)
    if json:
        shown = [agenda_lines.tick_document(entry, tick, notes) for tick in ticks]
        document = {
            "name": entry.name,
            "in_words": entry.in_words(),
            "next": shown,
            "later": later,
            "time_zone_data": data,
        }
        console.say(render.as_json(document))
        return
    console.say(*agenda_lines.tick_lines(entry, ticks, notes, moment))
    if later:
        console.say("", "Later:", *(f"  {text}" for text in later))
    if data:
        console.say("", "Time zone data:", *(f"  {text}" for text in data))


def zone_lines(entry: Entry, moment: datetime) -> list[str]:
    """Return what is to be said of the rules of the time zone; nothing of an interval."""
    if not isinstance(entry.timetable, Crontab):
        return []
    zone = entry.timetable.zone
    newer = zone_data.newer(zone, moment)
    return [str(zone_data.in_use(zone)), *([f"{newer}. {zone_data.advice(newer)}"] if newer else [])]


def _told(entry: Entry, moment: datetime, last: datetime) -> list[Remark]:
    if not isinstance(entry.timetable, Crontab):
        return []  # An interval knows nothing of clocks on walls.
    return remarks(entry.timetable, moment, max(last, moment + _YEAR))


SUBCOMMAND = Subcommand(
    name="next",
    help="Show when a schedule is due, and what changes of the clock mean for it.",
    description="Show the moments at which a schedule is due next, in its time zone, with a remark where the clock is "
    "changed: due later, due once, or left out. Remarks on changes within a year are shown below, however far they are.",
    examples=(
        ("next shop.tasks.send_reports", "the next twenty moments"),
        ("next shop.tasks.send_reports --count 400 --json", "as many as you like, for programs"),
    ),
    add_arguments=add_arguments,
    run=run,
)
