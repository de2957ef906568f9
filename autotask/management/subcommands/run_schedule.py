"""``run``: run the tasks of schedules now, in addition to their ticks."""

from collections.abc import Sequence

from autotask.acts import schedules
from autotask.agenda import Entry
from autotask.management.console import Console, failure
from autotask.management.lookup import add_names, for_each_schedule
from autotask.management.subcommand import Subcommand


def run(console: Console, *, names: Sequence[str]) -> None:
    """Enqueue a task of each of the schedules."""
    for_each_schedule(console, names, _run)


def _run(entry: Entry) -> str:
    [answer] = schedules.run([entry.name])
    if answer.is_done:
        return f"{entry.name} is enqueued as {answer.enqueued}"
    raise failure(f"{entry.name} is not in the code of this process, so it cannot be run from here.")


SUBCOMMAND = Subcommand(
    name="run",
    help="Run the tasks of schedules now, in addition to their ticks.",
    description="Enqueue the tasks of schedules now, in addition to their ticks. They count as run by hand, move no tick, "
    "and run even if the schedule is paused or an earlier task of it still runs.",
    examples=(
        ("run shop.tasks.send_reports", "one schedule"),
        ("run shop.tasks.send_reports | awk '{print $NF}'", "print only the id of its task"),
    ),
    add_arguments=add_names,
    run=run,
)
