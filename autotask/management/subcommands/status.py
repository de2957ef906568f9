"""``status``: queues, what ended lately, and workers, at a glance."""

import contextlib
import time
from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import queues
from autotask.management.arguments import duration
from autotask.management.console import Console, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store import read, schedules
from autotask.store.errors import is_weather
from autotask.store.read import LivingWorker, QueueCounts
from autotask.task import State
from autotask.texts import render
from autotask.texts.durations import in_words
from autotask.texts.lines import describe, one_line

#: How far back it is counted what has ended, in seconds.
LATELY = 3600

_ENDED = (State.DONE, State.ERROR, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment."""

    at: datetime
    queues: list[QueueCounts]
    ended: dict[State, int]
    workers: list[LivingWorker]


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--json", action="store_true", help="Print one JSON document for each look.")
    parser.add_argument(
        "--interval", type=duration(0.1), metavar="SECONDS", help="Look again and again, until Ctrl-C. Default: once."
    )


def run(console: Console, *, json: bool, interval: float | None) -> None:
    """Look once, or again and again."""
    connection = open_tables()
    if interval is None:
        console.say(*_shown(_look(connection), json, one_a_line=False))
        return
    # Ctrl-C is how it is meant to end.
    with contextlib.suppress(KeyboardInterrupt):
        _watch(console, connection, json, interval)


def _watch(console: Console, connection: BaseDatabaseWrapper, json: bool, interval: float) -> None:
    while True:
        try:
            console.say(*_shown(_look(connection), json, one_a_line=True))
        except (DatabaseError, InterfaceError) as error:
            if not is_weather(error):
                raise
            console.complain(one_line(f"The database cannot be asked now: {describe(error).strip()}"))
            connection.close()
        time.sleep(interval)


def _look(connection: BaseDatabaseWrapper) -> Look:
    return Look(
        at=schedules.now(connection),
        queues=read.counts(connection),
        ended=read.ended_lately(connection, LATELY),
        workers=read.workers(connection),
    )


def _shown(look: Look, json: bool, *, one_a_line: bool) -> list[str]:
    if json:
        return [render.as_json(document(look), one_a_line=one_a_line)]
    return [*lines(look), ""] if one_a_line else lines(look)


def document(look: Look) -> dict[str, Any]:
    """Return what was seen for programs; the keys are documented, and stay."""
    return {
        "at": render.stamp(look.at),
        "queues": [
            {
                "queue": queue.queue,
                "scheduled": queue.scheduled,
                "ready": queue.ready,
                "running": queue.running,
                "oldest_wait_seconds": round(queue.oldest, 3),
            }
            for queue in look.queues
        ],
        "ended": {"seconds": LATELY, **{state.name.lower(): look.ended.get(state, 0) for state in _ENDED}},
        "workers": [
            {
                "id": str(worker.id),
                "pid": worker.pid,
                "host": worker.host,
                "kind": worker.kind,
                "serves_pid": worker.serves_pid,
                "queues": queues.split(worker.queues)[0],
                "exclude_queues": queues.split(worker.queues)[1],
                "threads": worker.threads,
                "running": worker.running,
                "version": worker.version,
                "alive": worker.alive,
                "stopping": worker.stopping,
                "started_seconds_ago": round(worker.age, 3),
                "seen_seconds_ago": round(worker.seen, 3),
            }
            for worker in look.workers
        ],
    }


def lines(look: Look) -> list[str]:
    """Return what was seen for people."""
    ended = ", ".join(f"{look.ended.get(state, 0)} {state.name.lower()}" for state in _ENDED)
    return [
        f"Tasks of {render.moment(look.at)}",
        *(_queues(look.queues) or ["No task waits or runs."]),
        "",
        f"Ended in the last hour: {ended}",
        "",
        "Workers",
        *(_workers(look.workers) or ["None is registered. Start the site, or: python manage.py autotask worker"]),
    ]


def _queues(counts: list[QueueCounts]) -> list[str]:
    if not counts:
        return []
    body = [
        (queue.queue, queue.scheduled, queue.ready, queue.running, in_words(queue.oldest) if queue.ready else "")
        for queue in counts
    ]
    head = ("QUEUE", "SCHEDULED", "READY", "RUNNING", "OLDEST WAIT")
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


SUBCOMMAND = Subcommand(
    name="status",
    help="Show queues, what ended in the last hour, and workers.",
    description="Show how much waits and runs in each queue and for how long the oldest ready task has waited, how many "
    "tasks ended in the last hour, and which workers there are.",
    examples=(
        ("status", "look once"),
        ("status --interval 2", "look every two seconds, until Ctrl-C"),
        ("status --json", "one JSON document, for programs"),
    ),
    add_arguments=add_arguments,
    run=run,
)
