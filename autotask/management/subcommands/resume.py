"""``resume``: let the ticks of schedules make tasks again."""

from argparse import ArgumentParser
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.acts import schedules
from autotask.management.console import Console, failure, open_tables
from autotask.management.lookup import find_schedule, for_each
from autotask.management.subcommand import Subcommand


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="Names of schedules.")


def run(console: Console, *, names: Sequence[str]) -> None:
    """Resume each of the schedules."""
    connection = open_tables()
    for_each(console, names, lambda name: _resume(connection, name))


def _resume(connection: BaseDatabaseWrapper, name: str) -> str:
    find_schedule(connection, name)
    [answer] = schedules.resume([name])
    if answer.is_done:
        return f"{name} is resumed"
    raise failure(f"{name} is not paused.")


SUBCOMMAND = Subcommand(
    name="resume",
    help="Let the ticks of paused schedules make tasks again.",
    description="Let the ticks of paused schedules make tasks again, from the next one on. Those of the time in between "
    "are not made up for.",
    examples=(("resume shop.tasks.send_reports", "one schedule"),),
    add_arguments=add_arguments,
    run=run,
)
