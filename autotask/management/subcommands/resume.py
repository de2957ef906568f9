"""``resume``: let the ticks of schedules make tasks again."""

from collections.abc import Sequence

from autotask.acts import schedules
from autotask.agenda import Entry
from autotask.management.console import Console, failure
from autotask.management.lookup import add_names, for_each_schedule
from autotask.management.subcommand import Subcommand


def run(console: Console, *, names: Sequence[str]) -> None:
    """Resume each of the schedules."""
    for_each_schedule(console, names, _resume)


def _resume(entry: Entry) -> str:
    [answer] = schedules.resume([entry.name])
    if answer.is_done:
        return f"{entry.name} is resumed"
    raise failure(f"{entry.name} is not paused.")


SUBCOMMAND = Subcommand(
    name="resume",
    help="Let the ticks of paused schedules make tasks again.",
    description="Let the ticks of paused schedules make tasks again, from the next one on. Ticks that fell into the "
    "pause do not run later.",
    examples=(("resume shop.tasks.send_reports", "one schedule"),),
    add_arguments=add_names,
    run=run,
)
