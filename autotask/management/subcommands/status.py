"""``status``: queues, limits and rates, tasks that finished lately, workers, and pauses."""

import contextlib
import time
from argparse import ArgumentParser

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import queues
from autotask.conf import settings
from autotask.documents import ENDED, MINUTES, Overview, overview, overview_document, rates
from autotask.management import gate_lines
from autotask.management.arguments import duration
from autotask.management.console import Console, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store.errors import is_outage
from autotask.store.read import LivingWorker
from autotask.store.tally import NEWEST, QueueCounts
from autotask.texts import render
from autotask.texts.durations import in_words
from autotask.texts.lines import describe, one_line
from autotask.why import unserved


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--json", action="store_true", help="Print a JSON document each time.")
    parser.add_argument("--interval", type=duration(0.1), metavar="SECONDS", help="Repeat until Ctrl-C. Default: once.")


def run(console: Console, *, json: bool, interval: float | None) -> None:
    """Look once, or repeatedly."""
    connection = open_tables()
    if interval is None:
        console.say(*_shown(overview(connection), json, one_a_line=False))
        return
    # Ctrl-C is the intended end.
    with contextlib.suppress(KeyboardInterrupt):
        _watch(console, connection, json, interval)


def _watch(console: Console, connection: BaseDatabaseWrapper, json: bool, interval: float) -> None:
    while True:
        try:
            console.say(*_shown(overview(connection), json, one_a_line=True))
        except (DatabaseError, InterfaceError) as error:
            if not is_outage(error):
                raise
            console.complain(one_line(f"The database is not available: {describe(error).strip()}"))
            connection.close()
        time.sleep(interval)


def _shown(seen: Overview, json: bool, *, one_a_line: bool) -> list[str]:
    if json:
        return [render.as_json(overview_document(seen), one_a_line=one_a_line)]
    return [*lines(seen), ""] if one_a_line else lines(seen)


def lines(seen: Overview) -> list[str]:
    """Return the overview."""
    ended = ", ".join(f"{seen.ended.get(state, 0)} {state.name.lower()}" for state in ENDED)
    if sum(seen.ended.values()) >= NEWEST:
        ended += f", of the {NEWEST:,} newest"
    return [
        f"Tasks of {render.moment(seen.at)}",
        *(_queues(seen.queues) or ["No tasks wait or run."]),
        *gate_lines.lines(seen.gates, seen.pauses),
        "",
        f"Finished in the last hour: {ended}",
        # The minute that has begun is not in it, other than above.
        *([f"Per minute, in the last {MINUTES} whole minutes: {_rates(seen)}"] if settings.STATISTICS else []),
        "",
        "Workers",
        *(_workers(seen.workers) or ["None are registered. Start the site, or: python manage.py autotask worker"]),
        *_unserved(seen),
        *_pauses(seen),
    ]


def _rates(seen: Overview) -> str:
    return ", ".join(f"{number / MINUTES:.1f} {name}" for name, number in rates(seen.counts).items())


def _queues(counts: list[QueueCounts]) -> list[str]:
    if not counts:
        return []
    body = [
        (
            queue.queue,
            queue.scheduled,
            queue.held,
            queue.ready,
            queue.running,
            in_words(queue.oldest) if queue.ready else "",
        )
        for queue in counts
    ]
    head = ("QUEUE", "SCHEDULED", "HELD", "READY", "RUNNING", "OLDEST WAIT")
    return render.table(head, body, right=head[1:])


def _workers(workers: list[LivingWorker]) -> list[str]:
    if not workers:
        return []
    body = [
        (
            worker.pid,
            worker.host,
            worker.kind,
            worker.serves_pid or "",
            queues.in_words(worker.queues),
            worker.threads,
            worker.running,
            f"{in_words(worker.seen)} ago",
            "lost" if not worker.alive else "stopping" if worker.stopping else "alive",
        )
        for worker in workers
    ]
    head = ("PID", "HOST", "KIND", "SERVES", "QUEUES", "THREADS", "RUNNING", "SEEN", "STATE")
    return render.table(head, body, right=("PID", "SERVES", "THREADS", "RUNNING", "SEEN"))


def _unserved(seen: Overview) -> list[str]:
    # With no worker at all, that is said already.
    text = (
        unserved.in_words([queue.queue for queue in seen.queues if queue.ready], seen.workers) if seen.workers else ""
    )
    return ["", text] if text else []


def _pauses(seen: Overview) -> list[str]:
    body = [
        (
            pause.kind.value,
            pause.name,
            render.moment(pause.paused_at),
            pause.paused_by,
            render.moment(pause.until),
            pause.reason,
        )
        for pause in seen.pauses
    ]
    body += [("schedule", name, render.moment(at), by, "", "") for name, (at, by) in seen.paused_schedules.items()]
    return ["", "Paused", *render.table(("WHAT", "NAME", "SINCE", "BY", "UNTIL", "REASON"), body)] if body else []


SUBCOMMAND = Subcommand(
    name="status",
    help="Show queues, tasks that finished in the last hour, workers, and pauses.",
    description="Show how many tasks wait and run in each queue and how long the oldest ready task has waited, the "
    "limits and rates at which most tasks wait, how many finished in the last hour, all workers, and all pauses.",
    examples=(
        ("status", "look once"),
        ("status --interval 2", "look every two seconds, until Ctrl-C"),
        ("status --json", "one JSON document, for programs"),
    ),
    add_arguments=add_arguments,
    run=run,
    gives_reasons=True,
)
