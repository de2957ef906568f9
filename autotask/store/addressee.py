"""Choose the workers that NOTIFY wakes for a task: one of several idle workers, otherwise all workers."""

import uuid

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute, rows
from autotask.store.errors import is_locked
from autotask.task import THREAD

#: Workers listen here for new work.
WORK_CHANNEL = "autotask_work"

#: The words there if it is a single task: others need not know of it. Workers with other code say nothing.
ONE = "1"

#: An idle worker listens on a channel of its own, whose name is this and its id.
IDLE = "autotask_idle_"

#: A worker that can be handed tasks holds the first lock while its session listens: PostgreSQL frees it as soon as the worker is dead.
#: It takes the second one to be handed nothing more; until they commit, callers share that.
_ALIVE, _CLOSED = (
    f"('x' || {half}(replace({{id}}::text, '-', ''), 16))::bit(64)::bigint" for half in ("left", "right")
)

#: So many workers have to be idle. Fewer are all told: that costs little, and the fastest one gets the task.
FEWEST = 4

# * A worker says with each beat whether it is idle. It may be busy by now: then it passes the word on, if it has no room. It
#   may be dead: then the task is found by the next idle worker that looks by itself.
# * Chosen at random, so that nobody has to record which worker was notified.
# * Workers beat at least three times in a lease. One that has missed a beat may be dead, long before its lease is over.
# * Excluded queues are registered with a sign, after the others; see autotask.queues.
_IS_WELL = "NOT w.stopping AND clock_timestamp() < w.seen_at + 0.4 * (w.lease_until - w.seen_at)"
_SERVES = f"""{_IS_WELL}
      AND (w.queues = '' OR ((left(w.queues, 1) = '-' OR {{queue}} = ANY(string_to_array(w.queues, ',')))
                             AND '-' || {{queue}} <> ALL(string_to_array(w.queues, ','))))"""

_CHANNEL = f"""
coalesce((
    SELECT '{{idle}}' || replace((array_agg(w.id))[1 + floor(random() * count(*))::int]::text, '-', '')
    FROM autotask_worker w
    WHERE w.idle AND {_SERVES}
      AND ({{executor}} = '{{thread}}' OR {{executor}} = ANY(string_to_array(w.executors, ',')))
    HAVING count(*) >= {{fewest}}
), '{{all}}')"""


def idle_channel(id: uuid.UUID) -> str:
    """Return the channel that is notified when just this worker, which is idle, is to look for work."""
    return f"{IDLE}{id.hex}"


def channel(queue: str, executor: str) -> str:
    """Return an SQL expression for the channel to notify of a task.

    :param queue: an expression for its queue.
    :param executor: an expression for the pool that it needs.
    """
    return _CHANNEL.format(queue=queue, executor=executor, idle=IDLE, all=WORK_CHANNEL, thread=THREAD, fewest=FEWEST)


#: Whether a worker in a CTE is alive, and does not leave.
_STAYS = "NOT pg_try_advisory_xact_lock_shared({alive}) AND pg_try_advisory_xact_lock_shared({closed})"

# * One that holds no claim: so none is handed a second task while it runs the first one.
# * One of those at random, and only if it stays.
_FREE = """
free AS MATERIALIZED (
    SELECT w.id FROM autotask_worker w
    WHERE w.line = %(mark)s::text AND {serves}
      AND NOT EXISTS (SELECT FROM autotask_claim c WHERE c.worker_id = w.id)
    ORDER BY random() LIMIT 1
),
chosen AS MATERIALIZED (SELECT id FROM free WHERE {stays})"""

#: Whether a worker w can be handed what only it may take; it needs the parameter ``mark``.
HEARS = f"w.line = %(mark)s::text AND {_IS_WELL}"


def free(queue: str) -> str:
    """Return CTEs that end with ``chosen``, a worker that can be handed a task for its threads, if there is one.

    They need the parameter ``mark``.

    :param queue: an expression for the queue of the task.
    """
    return _FREE.format(serves=_SERVES.format(queue=queue), stays=stays("id"))


def stays(id: str) -> str:
    """Return an SQL condition: a worker is alive, and does not leave before this transaction has ended.

    :param id: an expression for its id, of a row that is chosen already: the condition takes locks.
    """
    return _STAYS.format(alive=_ALIVE.format(id=id), closed=_CLOSED.format(id=id))


# Callers that look at this moment whether it is alive share the lock for as long as that takes. A former session of the worker,
# whose end the server has not noticed yet, keeps it: then the worker is as alive as it could be.
_BE_ALIVE = f"""
SELECT set_config('lock_timeout', '100ms', true), pg_advisory_lock({_ALIVE.format(id="id")})
FROM (SELECT %(id)s::uuid AS id) AS mine
"""


def be_alive(connection: BaseDatabaseWrapper, id: uuid.UUID) -> bool:
    """Have a worker be handed tasks as long as this session lives.

    :returns: whether it is this session that counts; False: a former one still does, and the worker has to try again, to be
        handed tasks after its end as well.
    """
    try:
        execute(connection, _BE_ALIVE, {"id": id})
    except OperationalError as error:
        if not is_locked(error):
            raise
        return False
    return True


#: Seconds for which a worker that stops waits for calls that have handed it something.
PATIENCE = 3.0


def notify_itself(connection: BaseDatabaseWrapper, own: str) -> None:
    """Have the session of a worker hear of all that was committed before this: PostgreSQL notifies it in that order.

    :param own: a channel on which only this worker listens.
    """
    rows(connection, "SELECT pg_notify(%(own)s, '')", {"own": own})


# PostgreSQL frees the locks of calls before it tells listeners of their words. So the worker notifies itself: its session reads
# all that has come before that.
_BE_CLOSED = f"""
SELECT set_config('lock_timeout', %(patience)s, true), pg_advisory_lock({_CLOSED.format(id="id")}), pg_notify(%(own)s, '')
FROM (SELECT %(id)s::uuid AS id) AS mine
"""


def be_handed_nothing(connection: BaseDatabaseWrapper, id: uuid.UUID, own: str) -> None:
    """Have a worker be handed nothing more: wait until calls that have handed it something are committed or rolled back.

    :param own: a channel on which only this worker listens.
    :raises OperationalError: they take too long; others rescue their tasks once the worker has left.
    """
    execute(connection, _BE_CLOSED, {"id": id, "own": own, "patience": f"{PATIENCE:g}s"})


def be_handed_again(connection: BaseDatabaseWrapper, id: uuid.UUID) -> None:
    """Undo :func:`be_handed_nothing` in the same session."""
    rows(
        connection,
        f"SELECT pg_advisory_unlock({_CLOSED.format(id='id')}) FROM (SELECT %(id)s::uuid AS id) AS mine",
        {"id": id},
    )
