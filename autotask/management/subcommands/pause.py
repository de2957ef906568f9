"""``pause``: let the ticks of schedules pass without tasks."""

import getpass
import socket
from argparse import ArgumentParser
from collections.abc import Sequence

from autotask.acts import schedules
from autotask.acts.answers import Refusal
from autotask.agenda import Entry
from autotask.management.console import Console, failure
from autotask.management.lookup import add_names, for_each_schedule
from autotask.management.subcommand import Subcommand


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    add_names(parser)
    parser.add_argument("--by", metavar="WHO", help="Shown with the pause. Default: your user name and this host.")


def run(console: Console, *, names: Sequence[str], by: str | None) -> None:
    """Pause each of the schedules."""
    who = by or _who()
    for_each_schedule(console, names, lambda entry: _pause(entry, who))


def _pause(entry: Entry, by: str) -> str:
    name = entry.name
    [answer] = schedules.pause([name], by)
    if answer.is_done:
        return f"{name} is paused"
    if answer.refused is Refusal.NOT_REGISTERED:
        raise failure(f"{name} is not registered yet. Start a worker with this code first.")
    raise failure(f"{name} is already paused, by {entry.stored and entry.stored.paused_by or 'an unknown user'}.")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # In containers the user may have no name.
    return f"{user}@{socket.gethostname()}"


SUBCOMMAND = Subcommand(
    name="pause",
    help="Let the ticks of schedules pass without tasks, until they are resumed.",
    description="Let the ticks of schedules pass without tasks, until they are resumed, even through deployments and "
    "restarts. Tasks that already wait or run are left alone: see cancel.",
    examples=(
        ("pause shop.tasks.send_reports", "one schedule"),
        ("pause shop.tasks.send_reports --by 'Ada, until the printer is mended'", "tell others why"),
    ),
    add_arguments=add_arguments,
    run=run,
)
