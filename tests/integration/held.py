"""Held tasks as rows: without workers, so that they stay as they are."""

import uuid

from django.utils import timezone

from autotask.flow import Flow, Gate, LimitGate, RateGate
from autotask.models import Pause, Slot, Task
from autotask.store import enqueue
from autotask.store.connection import current, execute
from autotask.task import State
from tests.integration.store.shapes import edit, let_be_ready, let_run, new_task

OPENAI = LimitGate("limit:openai", "openai", 2)
RATE = RateGate("rate:shop.call(tenant_id=7)", "shop.call", 0.6, 20)


def own(key: str = "account_id=7", most: int = 1) -> LimitGate:
    """Return the limit of the task itself, with a key."""
    return LimitGate(f"limit:shop.sync({key})", "shop.sync", most)


def hold(*gates: Gate, unique: str | None = None, count: int = 1, **changes) -> list[uuid.UUID]:
    """Insert tasks with gates and return their ids."""
    changes = {"name": "shop.sync", "arguments": "account_id=7"} | changes
    flow = Flow(gates, unique) if gates or unique else None
    tasks = [new_task(**changes)._replace(flow=flow) for _ in range(count)]
    assert enqueue.insert_flowing(current(), tasks) == {task.id for task in tasks}
    return [task.id for task in tasks]


def give(gate: Gate, *ids: uuid.UUID, state: State = State.READY, seconds: float = 0.0) -> None:
    """Give slots of the first gate of tasks to them.

    :param seconds: how long they have been running.
    """
    for number, id in enumerate(ids, 1):
        Slot.objects.create(gate=gate.key, number=number, task_id=id, place=1, version=0)
    if state is State.RUNNING:
        let_run(*ids, seconds=seconds)
        Task.objects.filter(id__in=ids).update(passed=1)
    elif state is State.READY:
        let_be_ready(*ids, passed=1)
    else:
        edit(
            "UPDATE autotask_task SET passed = 1, state = %(state)s WHERE id = ANY(%(ids)s)",
            {"state": state.value, "ids": list(ids)},
        )


def draw(gate: RateGate, tokens: float, closed: float | None = None) -> None:
    """Take tokens from a full bucket.

    :param closed: the seconds for which it is closed.
    """
    execute(
        current(),
        "INSERT INTO autotask_bucket (gate, full_at, closed_until)"
        " VALUES (%(gate)s, now() + %(full)s * interval '1 s', now() + %(closed)s * interval '1 s')",
        {"gate": gate.key, "full": tokens * gate.interval, "closed": closed},
    )


def pause(kind: str, name: str = "", **fields) -> None:
    """Store a pause."""
    Pause.objects.create(**{"kind": kind, "name": name, "paused_at": timezone.now(), "paused_by": "ANN"} | fields)


def pause_task(*ids: uuid.UUID) -> None:
    """Move tasks to the gate of their paused name."""
    sql = "UPDATE autotask_task SET state = 8, gate = 'pause:' || name, ready_at = NULL WHERE id = ANY(%(ids)s)"
    edit(sql, {"ids": list(ids)})
