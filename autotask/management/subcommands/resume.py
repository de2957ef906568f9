"""``resume``: end the pauses of queues, tasks, limits and schedules."""

from collections.abc import Sequence
from typing import Any

from autotask import acts
from autotask.acts import schedules
from autotask.agenda import Entry
from autotask.management.console import Console, failure
from autotask.management.lookup import for_each_schedule, refuse_unknown_schedules
from autotask.management.subcommand import Subcommand
from autotask.management.targets import add_targets, described, targets


def run(
    console: Console,
    *,
    names: Sequence[str],
    queue: Sequence[str],
    task: Sequence[str],
    limit: Sequence[str],
    everything: bool,
) -> None:
    """Resume each of them; one that is not paused does not stop the others."""
    found = targets(names, queue, task, limit, everything)
    if found:
        refuse_unknown_schedules(names)
    problems = [problem for target in found if (problem := _resume_target(console, target))]
    if names:
        for_each_schedule(console, names, _resume)
    if problems:
        raise failure(" ".join(problems))


def _resume_target(console: Console, target: dict[str, Any]) -> str:
    if not acts.resume(**target):
        return f"{described(target)} is not paused."
    console.say(f"{described(target)} is resumed")
    return ""


def _resume(entry: Entry) -> str:
    [answer] = schedules.resume([entry.name])
    if answer.is_done:
        return f"{entry.name} is resumed"
    raise failure(f"{entry.name} is not paused.")


SUBCOMMAND = Subcommand(
    name="resume",
    help="Resume paused queues, tasks, limits or schedules.",
    description="Resume queues, tasks, limits or everything, each as it was paused: tasks begin again, those that "
    "have waited longest first. Or resume schedules, given by name without an option: from the next tick "
    "on they create tasks again; ticks that fell into the pause do not run later.",
    examples=(
        ("resume --queue mail", "a queue"),
        ("resume --everything", "all that --everything has paused; other pauses stay"),
        ("resume shop.tasks.send_reports", "a schedule"),
    ),
    add_arguments=add_targets,
    run=run,
)
