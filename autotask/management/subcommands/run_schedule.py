"""``run``: run the tasks of schedules now, beside their ticks."""

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
    raise failure(f"{entry.name} is not in the code of this process, which would have to say what to run.")


SUBCOMMAND = Subcommand(
    name="run",
    help="Run the tasks of schedules now, beside their ticks.",
    description="Enqueue the tasks of schedules now, beside their ticks: they are counted as run by hand, move no tick, "
    "and are run even if the schedule is paused or an earlier task of it still runs.",
    examples=(
        ("run shop.tasks.send_reports", "one schedule"),
        ("run shop.tasks.send_reports | awk '{print $NF}'", "the id of its task, for show"),
    ),
    add_arguments=add_names,
    run=run,
)
