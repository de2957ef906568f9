"""Short ways to make rows and workers, and to look at plans."""

import json
import time
import uuid
from dataclasses import dataclass

from autotask.store import claim, enqueue, read, workers
from autotask.store.claim import BoundedLane
from autotask.store.connection import current, execute, rows
from autotask.store.enqueue import NewTask
from autotask.store.finish import Outcome
from autotask.store.workers import WorkerIdentity
from autotask.task import State, new_id


def new_task(**changes):
    """Return a row to be, with defaults for all that does not matter."""
    defaults = {
        "id": new_id(),
        "name": "tests.task",
        "queue": "default",
        "priority": 0,
        "delay": 0.0,
        "run_after": None,
        "retries": 0,
        "ttl": 300.0,
        "arguments": "",
        "payload": b"payload",
    }
    return NewTask(**defaults | changes)


def put(count=1, connection=None, **changes):
    """Insert tasks and return their ids."""
    tasks = [new_task(**changes) for _ in range(count)]
    enqueue.insert_many(connection or current(), tasks)
    return [task.id for task in tasks]


def sign_on(lease=30.0, **changes):
    """Enter a worker in the register and return its id."""
    defaults = {
        "id": uuid.uuid4(),
        "kind": "worker",
        "host": "here",
        "boot_id": "boot",
        "pid": 1,
        "pid_started": 1,
        "serves_pid": None,
        "queues": (),
        "threads": 4,
        "version": "1",
    }
    worker = WorkerIdentity(**defaults | changes)
    workers.sign_on(current(), worker, 30.0)
    if lease != 30.0:
        execute(
            current(),
            "UPDATE autotask_worker SET lease_until = clock_timestamp() + %(lease)s * interval '1 s' WHERE id = %(id)s",
            {"id": worker.id, "lease": lease},
        )
    return worker.id


def take(worker_id, limit=100, per_lane=None, connection=None, lanes=None, which=claim.INNOCENT):
    """Claim from all lanes there are, or from those given."""
    connection = connection or current()
    if lanes is None:
        lanes = sorted(claim.find_lanes(connection)[0], key=lambda lane: -lane.priority)
    bounded = [BoundedLane(lane, None) for lane in lanes]
    return claim.claim(connection, worker_id, bounded, per_lane=per_lane or limit, limit=limit, which=which)


def stored(id):
    """Return a task as it is in the database."""
    return read.task(current(), id)


def state(id):
    """Return the state of a task; None if it is not there."""
    found = stored(id)
    return found and found.state


def outcome(task, state=State.DONE, **changes):
    """Return how a claimed task ended, just now."""
    return Outcome(
        **{"id": task.id, "fence": task.fence, "state": state, "ended_at": time.monotonic(), "seconds": 0.0} | changes
    )


def count(table):
    """Return the number of rows."""
    return rows(current(), f"SELECT count(*) FROM {table}")[0][0]


@dataclass(frozen=True)
class Plan:
    """How a statement was executed: what was scanned, and how many pages were looked at."""

    scans: set[str]
    buffers: int


def explain(sql, params):
    """Execute a statement, undo it, and return its plan."""
    connection = current()
    execute(connection, "BEGIN")
    try:
        (found,) = rows(connection, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params)
    finally:
        execute(connection, "ROLLBACK")
    (report,) = json.loads(found[0]) if isinstance(found[0], str) else found[0]
    root = report["Plan"]
    return Plan(set(_scans(root)), root["Shared Hit Blocks"] + root["Shared Read Blocks"])


def _scans(node):
    if "Scan" in node["Node Type"]:
        yield f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name') or ''}".strip()
    for child in node.get("Plans", ()):
        yield from _scans(child)


def fill(count, state):
    """Insert many rows fast: ready ones, or ones that are due in days."""
    execute(
        current(),
        """
        INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at, retries, ttl,
                                   arguments, payload)
        SELECT gen_random_uuid(), 'tests.task', 'default', 0, %(state)s, clock_timestamp(),
               clock_timestamp() + CASE WHEN %(state)s = 0 THEN n * interval '1 s' + interval '1 day' ELSE '0' END,
               CASE WHEN %(state)s = 1 THEN clock_timestamp() END, 0, 300, '', 'payload'
        FROM generate_series(1, %(count)s) AS n
        """,
        {"state": int(state), "count": count},
    )
