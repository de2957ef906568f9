"""``run``: run the tasks of schedules now, beside their ticks."""

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
    """Enqueue a task of each of the schedules."""
    connection = open_tables()
    for_each(console, names, lambda name: _run(connection, name))


def _run(connection: BaseDatabaseWrapper, name: str) -> str:
    find_schedule(connection, name)
    [answer] = schedules.run([name])
    if answer.is_done:
        return f"{name} is enqueued as {answer.enqueued}"
    raise failure(f"{name} is not in the code of this process, which would have to say what to run.")


SUBCOMMAND = Subcommand(
    name="run",
    help="Run the tasks of schedules now, beside their ticks.",
    description="Enqueue the tasks of schedules now, beside their ticks: they are counted as run by hand, move no tick, "
    "and are run even if the schedule is paused or an earlier task of it still runs.",
    examples=(
        ("run shop.tasks.send_reports", "one schedule"),
        ("run shop.tasks.send_reports | awk '{print $NF}'", "the id of its task, for show"),
    ),
    add_arguments=add_arguments,
    run=run,
)
