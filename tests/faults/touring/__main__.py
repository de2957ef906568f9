"""Calls tasks of every kind, waits for all, and prints as JSON what became of each: ``python -m tests.faults.touring``."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import django
from django.db import connection, transaction

#: Seconds to wait for each task.
PATIENCE = 30.0


def calls() -> dict[str, list[Any]]:
    """Call tasks; return the handles of each kind."""
    # Imported here: Django has to be set up before task functions are defined.
    from tests.faults.app import tasks
    from tests.faults.flowing import tasks as flowing
    from tests.faults.touring import tasks as touring

    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    found = {
        "now": [tasks.note() for _ in range(5)],
        "later": [tasks.note.using(delay=0.3)(), tasks.note.using(run_after=soon, expires=60)()],
        "few": tasks.note.enqueue_many([()] * 20),
        "many": tasks.note.enqueue_many([()] * 250),
        "retried": [tasks.fail_first(), touring.go_on()],
        "described": [tasks.note.using(tags=["a", "NULL"], metadata={"b": [1, None]}, priority=5)()],
        "limited": flowing.by_account.enqueue_many([(number % 2, 0.0) for number in range(20)]),
        "limited twice": flowing.in_narrow_queue.enqueue_many([(number % 2, 0.0, True) for number in range(6)]),
        "rated": flowing.rated_by_account.enqueue_many([(1,)] * 8),
        "unique": flowing.once.enqueue_many([(number,) for number in range(250)]),
        "unique until it begins": flowing.once_waiting.enqueue_many([(number,) for number in range(10)]),
        "replaced": [flowing.newest.using(delay=0.2)(1, 0.1), flowing.newest.using(delay=0.2)(1, 0.0)],
        "debounced": [flowing.debounced(1) for _ in range(3)],
        "throttled": [flowing.throttled(1) for _ in range(2)],
        "logged": [touring.log("a line")],
        "chained": [touring.call_next(3)],
        "reported": [touring.report()],
        "in pools": [touring.doze(), touring.elsewhere(), tasks.note_atomically()],
    }
    with transaction.atomic():
        found["in a transaction"] = [tasks.note(), flowing.once(1000), *tasks.note.enqueue_many([()] * 3)]
    return found


def paused() -> list[Any]:
    """Call a task while it is paused, and a limit; let both go."""
    from autotask.acts import pausing
    from tests.faults.flowing import tasks as flowing
    from tests.faults.touring import tasks as touring

    names = {"task": touring.log.name, "limit": flowing.two_at_a_time.name}
    for kind, name in names.items():
        pausing.pause(**{kind: name}, until=datetime.now(UTC) + timedelta(hours=1))
    handles = [touring.log("late"), flowing.two_at_a_time(0.0)]
    for kind, name in names.items():
        pausing.resume(**{kind: name})
    return handles


def cancelled() -> list[Any]:
    """Call tasks for another day, cancel them, and have one of them run now."""
    from autotask.acts import tasks as acts
    from tests.faults.app import tasks

    one, *others = [tasks.note.using(delay=86400)() for _ in range(3)]
    one.cancel()
    acts.cancel([handle.id for handle in others])
    acts.retry([handle.id for handle in others])
    return [one, *others]


async def wait(handles: Iterable[Any]) -> None:
    """Wait for tasks in coroutines."""
    await asyncio.gather(*[handle.await_result(PATIENCE) for handle in handles])


def main() -> None:
    """Call and wait; then answer each line with what the commands of that name print."""
    django.setup()
    kinds = calls() | {"paused": paused()}
    asyncio.run(wait(kinds["few"]))
    for handles in kinds.values():
        for handle in handles:
            handle.wait(PATIENCE)
    kinds["cancelled"] = cancelled()
    for handle in kinds["cancelled"][1:]:
        handle.wait(PATIENCE)
    found = {kind: Counter(str(handle.status) for handle in handles) for kind, handles in kinds.items()}
    attempts = {kind: [handle.attempts for handle in kinds[kind]] for kind in ("retried", "limited twice")}
    lines = [handle.logs().rpartition(" - ")[2].strip() for handle in kinds["logged"]]
    connection.close()
    print(json.dumps({"statuses": found, "attempts": attempts, "lines": lines}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
