"""Tables with as many rows as a site may have, in a schema of their own, with statistics as good or bad as wanted."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.db import models
from django.db.migrations.executor import MigrationExecutor

from autotask.flow import Flow, LimitGate
from autotask.store import enqueue, finish, held as held_table, ready
from autotask.store.connection import current, execute, rows
from autotask.task import ClaimedTask, State, new_id
from tests.helpers import LONG
from tests.integration.store.shapes import new_task, outcome, put, sign_on, take

#: Rows that are due in days, and as many that have ended; the other kinds are fewer.
ROWS = 1_000_000 if LONG else 50_000

SCHEMA = "autotask_crowd"

#: A gate at which very many tasks wait, and the number of other ones.
SATURATED = LimitGate("limit:some(key=all)", "some", 20)
KEYS = ROWS // 50

#: In seconds; to fill tables with millions of rows takes minutes.
DAY = 86400.0

#: What the planner may know of the tables.
STATISTICS = ["no statistics", "statistics of empty tables", "statistics of other rows", "fresh statistics"]

TABLES = {model._meta.db_table: model for model in apps.get_app_config("autotask").get_models() if model._meta.managed}


@dataclass
class Crowd:
    """What is in the tables.

    :ivar worker: a running worker that holds *held*; another one, whose lease has run out, holds 100.
    :ivar future: a task that is due tomorrow.
    :ivar waiting: a ready task.
    :ivar failed: a task that has ended in an error, with an attempt.
    :ivar past: one of many whose results are gone.
    :ivar behind: the last of very many tasks that wait at one gate, all of whose slots are taken.
    """

    worker: uuid.UUID
    held: list[ClaimedTask]
    future: uuid.UUID
    waiting: uuid.UUID
    failed: uuid.UUID
    past: uuid.UUID
    behind: uuid.UUID


@contextlib.contextmanager
def own_schema() -> Iterator[None]:
    """Make the tables of autotask once more, where nobody has ever analysed them and autovacuum does not."""
    execute(current(), f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    execute(current(), f"CREATE SCHEMA {SCHEMA}")
    execute(current(), f"SET search_path = {SCHEMA}")
    try:
        executor = MigrationExecutor(current())
        executor.migrate(executor.loader.graph.leaf_nodes("autotask"))
        for table in TABLES:
            execute(current(), f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield
    finally:
        execute(current(), "RESET search_path")
        execute(current(), f"DROP SCHEMA {SCHEMA} CASCADE")


def gather(statistics: str) -> Crowd:
    """Fill the tables: future rows that are older than the work and such that are younger, and many that have ended."""
    if statistics == "statistics of empty tables":
        analyze()
    payload = b"x" * 200
    future = put(delay=DAY, payload=payload)[0]
    multiply("autotask_task", future, ROWS // 2, run_at="t.run_at + n * interval '1 s'")
    if statistics == "statistics of other rows":
        analyze()

    worker, dead = sign_on(lease=DAY), sign_on(lease=-1.0)
    put(200, payload=payload)
    failed, done, over, *held = take(worker, limit=200)
    ended = [outcome(failed, State.ERROR, error_message="no"), outcome(done), outcome(over)]
    finish.end(current(), ended, now=time.monotonic(), error_ttl=DAY)
    moments = {"ended_at": "t.ended_at - n * interval '1 s'", "kept_until": "t.kept_until + n * interval '1 s'"}
    multiply("autotask_result", failed.id, ROWS // 10, **moments)
    multiply("autotask_result", done.id, ROWS, **moments)
    multiply("autotask_result", over.id, ROWS // 10, kept_until="clock_timestamp() - n * interval '1 ms'")
    keep_past(done.id)
    past = keep_past(done.id)
    multiply("autotask_history", past, ROWS)
    ((attempt,),) = rows(current(), "SELECT id FROM autotask_attempt")
    multiply("autotask_attempt", attempt, ROWS, task_id="gen_random_uuid()")

    execute(
        current(),
        "INSERT INTO autotask_step (task_id, number, name, started_at, ended_at) "
        f"SELECT gen_random_uuid(), n, '', now(), now() FROM generate_series(1, {ROWS // 3}), generate_series(1, 3) AS n",
    )

    # What other running workers run, and what the dead one has left behind.
    for other in (dead, *(sign_on(lease=DAY) for _ in range(10))):
        multiply("autotask_task", held[0].id, 100, claimed_by=other)

    waiting = put(payload=payload)[0]
    multiply("autotask_task", waiting, ROWS // 5, ready_at="t.ready_at + n * interval '1 ms'")
    for queue, priority in (("mail", 0), ("mail", 10), ("urgent", 100)):
        put(20, payload=payload, queue=queue, priority=priority)
    behind = hold(held[:20])
    multiply("autotask_task", future, ROWS // 2, run_at="t.run_at + n * interval '1 s'")
    if statistics == "fresh statistics":
        analyze()
    return Crowd(worker, held, future, waiting, failed.id, past, behind)


def keep_past(id: uuid.UUID) -> uuid.UUID:
    """Insert what is kept of a task as if its result were gone, under another id; return that."""
    past = new_id()
    execute(
        current(),
        "INSERT INTO autotask_history (id, state, queue, priority, name, created_at, run_at, ended_at, gone_at, attempt, "
        "failures, lost, retries) SELECT %(past)s, state, queue, priority, name, created_at, run_at, ended_at, "
        "statement_timestamp(), attempt, failures, lost, retries FROM autotask_result WHERE id = %(id)s",
        {"past": past, "id": id},
    )
    return past


def hold(holders: list[ClaimedTask]) -> uuid.UUID:
    """Insert tasks that wait at one gate, whose slots some tasks have, and as many gates as there are keys."""
    (id,) = enqueue.insert_flowing(current(), [new_task()._replace(flow=Flow((SATURATED,)))])
    multiply("autotask_task", id, ROWS // 5, run_at="t.run_at - n * interval '1 ms'")
    multiply("autotask_task", id, KEYS, gate="'limit:some(key=' || n || ')'")
    for number, holder in enumerate(holders, 1):
        sql = "INSERT INTO autotask_slot (gate, number, task_id, place, version) VALUES (%(gate)s, %(number)s, %(id)s, 1, 1)"
        execute(current(), sql, {"gate": SATURATED.key, "number": number, "id": holder.id})
    execute(
        current(),
        "UPDATE autotask_task SET passed = 1 WHERE id = ANY(%(ids)s)",
        {"ids": [holder.id for holder in holders]},
    )
    return id


def analyze() -> None:
    """Tell the planner what is in the tables."""
    for table in TABLES:
        execute(current(), f"ANALYZE {table}")


def multiply(table: str, id: object, count: int, *, claimed_by: uuid.UUID | None = None, **changes: str) -> None:
    """Insert copies of a row, with ids that follow each other as those of tasks do. Ready tasks may be claimed then.

    :param claimed_by: the worker that has claimed the copies, all at once.
    :param changes: columns that differ, as SQL in which *t* is the row and *n* the number of the copy.
    """
    fields = [field for field in TABLES[table]._meta.get_fields() if isinstance(field, models.Field)]
    if not isinstance(TABLES[table]._meta.pk, models.AutoField):
        # A moment, a counter in place of what is random, and the rest.
        changes["id"] = (
            "(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
            " || '7' || lpad(to_hex(n & 4095), 3, '0') || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid"
        )
    columns = [field.column for field in fields if not isinstance(field, models.AutoField)]
    values = [changes.get(column, f"t.{column}") for column in columns]
    insert = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"
        f" FROM {table} t CROSS JOIN generate_series(1, %(count)s) AS n WHERE t.id = %(id)s"
    )
    if claimed_by:
        claim = (
            "INSERT INTO autotask_claim (number, worker_id, at, ids)"
            " SELECT nextval('autotask_fence'), %(claimed_by)s, clock_timestamp(), array_agg(id) FROM made"
        )
        insert = f"WITH made AS ({insert} RETURNING id) {claim}"
    elif table == "autotask_task":
        insert = f"""WITH made AS ({insert} RETURNING {held_table.RETURNED}), held AS ({held_table.come("made")})
                     {ready.come("made")}"""
    execute(current(), insert, {"id": id, "count": count, "claimed_by": claimed_by})
