"""``pause``: begin no task of a queue, of a name or under a limit, or let the ticks of schedules pass without tasks."""

from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from autotask.acts import pausing, schedules
from autotask.acts.answers import Refusal
from autotask.agenda import Entry
from autotask.management.arguments import duration, moment
from autotask.management.console import USAGE, Console, failure, operator
from autotask.management.lookup import for_each_schedule, refuse_unknown_schedules
from autotask.management.subcommand import Subcommand
from autotask.management.targets import add_targets, described, targets


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    add_targets(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--until",
        type=moment,
        metavar="MOMENT",
        help="When the pause ends, like 18:00 or 2026-12-01T08:00, in the time zone of the project. Default: until resume.",
    )
    length.add_argument(
        "--for", type=duration(1), metavar="DURATION", dest="seconds", help="How long the pause lasts, like 90s or 2h."
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="Shown with the pause.")
    parser.add_argument("--by", metavar="WHO", help="Shown with the pause. Default: your user name and this host.")


def run(
    console: Console,
    *,
    names: Sequence[str],
    queue: Sequence[str],
    task: Sequence[str],
    limit: Sequence[str],
    everything: bool,
    until: datetime | None,
    seconds: float | None,
    reason: str,
    by: str | None,
) -> None:
    """Pause each of them."""
    who = by or operator()
    end = until if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    found = targets(names, queue, task, limit, everything)
    if names and (end or reason):
        raise failure(
            "Schedules are paused until they are resumed, and without a reason: leave these options out.", USAGE
        )
    if found:
        refuse_unknown_schedules(names)
    for target in found:
        doubt = pausing.pause_quietly(**target, until=end, reason=reason, by=who)
        console.say(f"{described(target)} is paused{_until(end)}")
        if doubt:
            console.complain(str(doubt))
    if names:
        for_each_schedule(console, names, lambda entry: _pause(entry, who))


def _until(end: datetime | None) -> str:
    return "" if end is None else f" until {timezone.localtime(end).isoformat(' ', 'seconds')}"


def _pause(entry: Entry, by: str) -> str:
    name = entry.name
    [answer] = schedules.pause([name], by)
    if answer.is_done:
        return f"{name} is paused"
    if answer.refused is Refusal.NOT_REGISTERED:
        raise failure(f"{name} is not registered yet. Start a worker with this code first.")
    raise failure(f"{name} is already paused, by {entry.stored and entry.stored.paused_by or 'an unknown user'}.")


SUBCOMMAND = Subcommand(
    name="pause",
    help="Pause queues, tasks, limits or schedules.",
    description="Pause queues, tasks, limits or everything: no more tasks begin, and running tasks continue. Calls "
    "and schedules still create tasks, which wait. Or pause schedules, given by name without an option: "
    "their ticks pass without tasks, and nothing makes up for them; tasks that wait or run are not "
    "affected. A pause survives deployments and restarts. Pausing a queue, task or limit again replaces "
    "the end and the reason of its pause.",
    examples=(
        ("pause --queue mail --for 2h --reason 'the provider is down'", "a queue"),
        ("pause --task shop.tasks.send_invoice --until 18:00", "all tasks of a name, until six in the evening"),
        ("pause --limit openai", "all tasks that wait at a limit"),
        ("pause --limit 'shop.tasks.sync(account_id=7)'", "one key of a limit"),
        ("pause --everything", "all tasks"),
        ("pause shop.tasks.send_reports", "a schedule: no ticks"),
    ),
    add_arguments=add_arguments,
    run=run,
)
