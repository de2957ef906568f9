"""``health``: whether tasks are worked on, as an exit code for probes."""

from argparse import ArgumentParser

from autotask.health import examination
from autotask.health.examination import MAX_AGE, Bounds
from autotask.management.arguments import duration, whole
from autotask.management.console import UNHEALTHY, Console, failure
from autotask.management.subcommand import Subcommand
from autotask.store.connection import current
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument(
        "--max-age",
        type=duration(),
        default=MAX_AGE,
        metavar="DURATION",
        help=f"How long the oldest ready task may have waited. Default: {MAX_AGE:g}s.",
    )
    parser.add_argument(
        "--max-backlog", type=whole(0, 999_999_999), metavar="N", help="How many tasks may be ready. Default: any."
    )
    parser.add_argument(
        "--min-workers",
        type=whole(0, 999_999_999),
        default=1,
        metavar="N",
        help="How many workers must be alive. Default: 1.",
    )
    parser.add_argument(
        "--here",
        action="store_true",
        help="Only check whether workers of this host or container are alive, for its own probe.",
    )
    parser.add_argument("--json", action="store_true", help="Print a JSON document.")


def run(console: Console, *, max_age: float, max_backlog: int | None, min_workers: int, here: bool, json: bool) -> None:
    """Examine the site or this host; exit with 3 if it is not healthy."""
    if here:
        checks = examination.of_host(current, min_workers)
    else:
        checks = examination.of_site(current, Bounds(max_age, max_backlog, min_workers))
    if json:
        console.say(render.as_json(examination.document(checks, in_full=True)))
    else:
        console.say(*(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.in_full}" for check in checks))
    if failing := [check.name for check in checks if not check.ok]:
        raise failure(f"Not healthy: {', '.join(failing)}.", UNHEALTHY)


SUBCOMMAND = Subcommand(
    name="health",
    help="Report by exit code whether tasks are being processed, for probes.",
    description="Check whether the database answers, whether workers are alive, and whether ready tasks wait too long "
    "or are too many; tasks of paused queues do not count. The exit code is 0 if all is well, and 3 if "
    "not. The check reads a few index pages, however many tasks there are. To find out more: autotask "
    "doctor.",
    examples=(
        ("health", "the oldest ready task has waited a minute at most, and a worker is alive"),
        ("health --max-age 5m --max-backlog 1000", "with bounds of your own"),
        ("health --here", "in a container of a worker: is the worker alive?"),
    ),
    add_arguments=add_arguments,
    run=run,
)
