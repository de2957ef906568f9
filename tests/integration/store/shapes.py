"""Short ways to make rows and workers, and to look at them."""

import time
import uuid

from autotask.store import claim, held, many, read, ready, workers
from autotask.store.claim import BoundedLane
from autotask.store.connection import current, execute, in_transaction, rows
from autotask.store.enqueue import Kind, NewTask
from autotask.store.finish import Outcome
from autotask.store.workers import WorkerIdentity
from autotask.task import State, new_id


def new_task(**changes):
    """Return a row to be, with defaults for all that does not matter."""
    own = {"id": new_id(), "arguments": "", "payload": b"payload"}
    own |= {name: changes.pop(name) for name in own if name in changes}
    kind = {"name": "tests.task", "queue": "default", "priority": 0, "retries": 0, "ttl": 300.0, **changes}
    return NewTask(kind=Kind(**kind), **own)


def put(count=1, connection=None, **changes):
    """Insert tasks and return their ids."""
    tasks = [new_task(**changes) for _ in range(count)]
    many.insert_many(connection or current(), tasks)
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


def take(worker_id, limit=100, per_lane=None, connection=None, lanes=None, **options):
    """Claim from all lanes there are, or from those given."""
    connection = connection or current()
    if lanes is None:
        lanes = sorted(claim.find_lanes(connection)[0], key=lambda lane: -lane.priority)
    bounded = [BoundedLane(lane, None) for lane in lanes]
    return claim.claim(connection, worker_id, bounded, per_lane=per_lane or limit, limit=limit, **options)


def waiting_for_locks(connection=None):
    """Return how many sessions wait for a lock. Those of tests in other databases of this server do not count."""
    sql = """SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (
        SELECT pid FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""
    return rows(connection or current(), sql)[0][0]


def edit(sql, params=None):
    """Change rows of tasks by hand, and have the narrow tables follow: a task that is READY or HELD by its row runs or is there."""

    def change():
        execute(current(), sql, params)
        execute(current(), "LOCK TABLE autotask_ready, autotask_held, autotask_claim")  # Workers may be at work.
        waiting = f"""(SELECT {held.RETURNING} FROM autotask_task t
                       WHERE NOT EXISTS (SELECT FROM autotask_running r WHERE r.id = t.id))"""
        for table, come in (("autotask_ready", ready.come), ("autotask_held", held.come)):
            execute(current(), f"DELETE FROM {table}")
            execute(current(), come(waiting))

    in_transaction(current(), change)  # A worker may have locked the tables in another order.


def no_longer_wait(ids):
    """Delete the rows of tasks in the tables of those that are ready or held."""
    for table in ("autotask_ready", "autotask_held"):
        execute(current(), f"DELETE FROM {table} WHERE id = ANY(%(ids)s)", {"ids": list(ids)})


def let_be_ready(*ids, **changes):
    """Make tasks ready, whatever they have done until now.

    :param changes: values for columns of their rows.
    """
    params = {"ids": list(ids)} | changes
    no_longer_wait(ids)
    values = {"state": "1", "ready_at": "coalesce(ready_at, now())"} | {name: f"%({name})s" for name in changes}
    sql = f"""
        WITH t AS (
            UPDATE autotask_task t SET {", ".join(f"{name} = {value}" for name, value in values.items())}
            WHERE id = ANY(%(ids)s) RETURNING {ready.RETURNING}
        )
        {ready.come("t")}
    """
    execute(current(), sql, params)


def let_run(*ids, worker=None, seconds=0.0):
    """Make tasks run, in a claim of a worker that is not registered by default, whatever they have done until now.

    :param seconds: how long they have been running.
    :returns: the fence of the first one.
    """
    params = {"ids": list(ids), "worker": worker or uuid.uuid4(), "seconds": seconds}
    no_longer_wait(ids)
    execute(
        current(),
        "UPDATE autotask_task SET state = 1, ready_at = coalesce(ready_at, now()) WHERE id = ANY(%(ids)s)",
        params,
    )
    sql = """
        INSERT INTO autotask_claim (number, worker_id, at, ids)
        VALUES (nextval('autotask_fence'), %(worker)s, now() - %(seconds)s * interval '1 s', %(ids)s::uuid[]) RETURNING number << 10
    """
    return rows(current(), sql, params)[0][0]


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


def now():
    """Return the time of the server."""
    ((moment,),) = rows(current(), "SELECT clock_timestamp()")
    return moment
