"""``stats``: what happened to tasks lately, and how long they waited and ran."""

from argparse import ArgumentParser
from datetime import timedelta

from autotask.conf import settings
from autotask.management.arguments import duration
from autotask.management.console import Console, failure, open_tables
from autotask.management.lookup import task_meant
from autotask.management.subcommand import Subcommand
from autotask.metrics.summary import SHARES, Statistics, statistics_document
from autotask.statistics import quantile
from autotask.store import schedules, statistics
from autotask.texts import render
from autotask.texts.durations import precisely

#: The columns that name the tasks of a line.
_BY = {"task": "name", "queue": "queue", "both": "both", "all": "all"}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--since",
        type=duration(60),
        default=3600.0,
        metavar="DURATION",
        help="How far back: 90s, 15m, 12h, 7d. Default: 1h.",
    )
    parser.add_argument("--by", choices=tuple(_BY), default="task", help="One line for each of these. Default: task.")
    parser.add_argument("--task", metavar="NAME", help="Only tasks of this name.")
    parser.add_argument("--queue", metavar="NAME", help="Only tasks of this queue.")
    parser.add_argument("--json", action="store_true", help="Print a JSON document.")


def run(console: Console, *, since: float, by: str, task: str | None, queue: str | None, json: bool) -> None:
    """Read the statistics of the range."""
    if since > statistics.KEPT[statistics.HOUR]:
        days = statistics.KEPT[statistics.HOUR] // 86400
        raise failure(f"Statistics are kept for {days} days; give --since {days}d or less.")
    connection = open_tables()
    until = schedules.now(connection)
    _, start = statistics.beginning(until - timedelta(seconds=since), until)
    found = statistics.totals(connection, until - timedelta(seconds=since), until, by=_BY[by], name=task, queue=queue)  # type: ignore[arg-type]  # argparse allows no other word
    seen = Statistics(start, until, found)
    if json:
        console.say(render.as_json(statistics_document(seen)))
        return
    console.say(*_lines(seen, task))
    if not settings.STATISTICS:
        console.complain("AUTOTASK_STATISTICS is False: workers do not count tasks.")


def _lines(seen: Statistics, task: str | None) -> list[str]:
    if not seen.counts:
        return [f"No tasks have run in this time{task_meant(task)}."]
    times = tuple(f"{what} P{share}" for what in ("WAIT", "RUN") for share in SHARES)
    head = ("TASK", "QUEUE", "A MINUTE", "STARTED", "DONE", "ERROR", "RETRY", "CANCELLED", "LOST", *times)
    body = []
    for of, counts in seen.counts.items():
        numbers = counts.started, counts.succeeded, counts.failed, counts.retried, counts.cancelled, counts.lost
        quantiles = (
            quantile(histogram, share / 100) for histogram in (counts.waiting, counts.running) for share in SHARES
        )
        shown = ("" if value is None else precisely(value) for value in quantiles)
        body.append((of.name, of.queue, f"{counts.ended / seen.minutes:.1f}", *numbers, *shown))
    return render.table(head, body, right=head[2:])


SUBCOMMAND = Subcommand(
    name="stats",
    help="Show how many tasks ran, and how long they waited and ran.",
    description="Show for each task how many attempts started and how they ended, how many tasks ended a minute, and "
    "the median and the 95th percentile of the times that they waited and ran. Up to three hours back the range is exact "
    "to a minute, else to an hour.",
    examples=(
        ("stats", "the last hour, by task"),
        ("stats --since 7d --by queue", "the last week, by queue"),
        ("stats --task shop.tasks.send_invoice --json", "one task, for programs"),
    ),
    add_arguments=add_arguments,
    run=run,
)
