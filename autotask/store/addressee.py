"""Choose the workers that NOTIFY wakes for a task: one of several idle workers, otherwise all workers."""

import uuid

from autotask.task import THREAD

#: Workers listen here for new work.
WORK_CHANNEL = "autotask_work"

#: An idle worker listens on a channel of its own, whose name is this and its id.
IDLE = "autotask_idle_"

#: So many workers have to be idle. Fewer are all told: that costs little, and whoever is fastest gets the task.
FEWEST = 4

# * A worker says with each beat whether it is idle. It may be busy by now: then it passes the word on, if it has no room. It
#   may be dead: then the task is found by the next idle worker that looks by itself.
# * Chosen at random, so that nobody has to record which worker was notified.
# * Workers beat at least three times in a lease. One that has missed a beat may be dead, long before its lease is over.
# * Excluded queues are registered with a sign, after the others; see autotask.queues.
_CHANNEL = """
coalesce((
    SELECT '{idle}' || replace((array_agg(w.id))[1 + floor(random() * count(*))::int]::text, '-', '')
    FROM autotask_worker w
    WHERE w.idle AND NOT w.stopping AND clock_timestamp() < w.seen_at + 0.4 * (w.lease_until - w.seen_at)
      AND ({executor} = '{thread}' OR {executor} = ANY(string_to_array(w.executors, ',')))
      AND (w.queues = '' OR ((left(w.queues, 1) = '-' OR {queue} = ANY(string_to_array(w.queues, ',')))
                             AND '-' || {queue} <> ALL(string_to_array(w.queues, ','))))
    HAVING count(*) >= {fewest}
), '{all}')"""


def idle_channel(id: uuid.UUID) -> str:
    """Return the channel that is notified when just this worker, which is idle, is to look for work."""
    return f"{IDLE}{id.hex}"


def channel(queue: str, executor: str) -> str:
    """Return an SQL expression for the channel to notify of a task.

    :param queue: an expression for its queue.
    :param executor: an expression for the pool that it needs.
    """
    return _CHANNEL.format(queue=queue, executor=executor, idle=IDLE, all=WORK_CHANNEL, thread=THREAD, fewest=FEWEST)
