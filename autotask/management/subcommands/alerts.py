"""``alerts``: look for incidents here and now, and announce them, for cron: even while no worker is alive."""

from argparse import ArgumentParser

from autotask.conf import settings
from autotask.management.console import UNHEALTHY, Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.notifications.alerts import looking, sending, words
from autotask.store import incidents
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--json", action="store_true", help="Print a JSON document.")


def run(console: Console, *, json: bool) -> None:
    """Look, send, and show the incidents that last; exit with 3 if there are some, or messages could not be sent."""
    connection = open_tables()
    looking.look(connection)
    problems = sending.send_all()
    found = incidents.going_on(connection)
    if json:
        shown = [
            {"key": each.key, "text": words.of_incident(each), "began_at": each.began_at.isoformat()} for each in found
        ]
        console.say(render.as_json({"incidents": shown, "problems": problems}))
    elif not settings.ALERTS:
        console.say("AUTOTASK_ALERTS has no rules.")
    else:
        console.say(*(f"since {each.began_at:%Y-%m-%d %H:%M:%S} UTC: {words.of_incident(each)}" for each in found))
        console.say(*(f"not sent to {problem}" for problem in problems))
    if found or problems:
        raise failure(f"{render.count(len(found), 'incident')}.", UNHEALTHY)


SUBCOMMAND = Subcommand(
    name="alerts",
    help="Check the rules in AUTOTASK_ALERTS, and announce incidents.",
    description="Check the rules in AUTOTASK_ALERTS, send the messages that are due, and show the current incidents. "
    "Workers do the same every 15 seconds; run this from cron as well, since no worker can report that "
    "all workers are gone. The exit code is 0 if there is no incident, and 3 if there is one.",
    examples=(
        ("alerts", "each minute from cron: announces that no worker is alive, too"),
        ("alerts --json", "for other programs"),
    ),
    add_arguments=add_arguments,
    run=run,
    gives_reasons=True,
)
