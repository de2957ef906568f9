"""Old snapshots, long transactions, locks, deadlocks, and many rows (faults 30 to 35, 53 and 54)."""

import json
import threading
import time
import uuid

import pytest
from django.db import DatabaseError

from autotask.store import cancel, claim, enqueue, finish, forgotten, many, pauses, promote, prune, requeue, workers
from autotask.store.claim import BoundedLane, Lane
from autotask.store.connection import execute, rows
from autotask.store.finish import Outcome
from autotask.store.notify import NOTIFY_INTERVAL, WORK_CHANNEL
from autotask.store.workers import WorkerIdentity
from autotask.task import State
from tests.faults.app import tasks
from tests.faults.world import bury, quantile
from tests.helpers import wait_until


def sign_on(connection, lease=3600.0):
    """Register a worker of this process, and return its id."""
    identity = WorkerIdentity(
        id=uuid.uuid4(), kind="worker", host="nowhere", boot_id="none", pid=0, pid_started=0, serves_pid=None,
        queues=(), threads=1, version="1",
    )  # fmt: skip
    workers.sign_on(connection, identity, lease)
    return identity.id


def explained(connection, sql, params):
    """Execute a statement, undo it, and return its indexes, pages and milliseconds."""
    execute(connection, "BEGIN")
    try:
        [(found,)] = rows(connection, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params)
    finally:
        execute(connection, "ROLLBACK")
    [report] = json.loads(found) if isinstance(found, str) else found
    plan = report["Plan"]
    return set(_scans(plan)), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], report["Execution Time"]


def _scans(node):
    if node["Node Type"] == "Seq Scan":
        yield f"all of {node['Relation Name']}"
    elif "Index Name" in node:
        yield node["Index Name"]
    for child in node.get("Plans", ()):
        yield from _scans(child)


def claim_of(worker, since=None):
    """Return the statement that claims one task, and its parameters."""
    sql = claim.CLAIM.format(per_lane=1, limit=1, which=claim.INNOCENT, known="true", **claim.UNBOUNDED)
    lane = {"queues": ["default"], "priorities": [0], "executors": [""], "since": [since], "after": [claim.BEFORE_ALL]}
    return sql, {"worker_id": worker, **lane}


def latencies(world, since=0.0):
    """Return the seconds from the acknowledgement of each call to its start."""
    called = {event.id: event.at for event in world.events("enqueued") if event.at > since}
    first = {}
    for event in world.events("start"):
        first.setdefault(event.id, event.at)
    return [first[id] - at for id, at in called.items() if id in first]


@pytest.mark.fault(30)
def test_an_old_snapshot_does_not_make_claims_expensive(world, figures, lasting):
    # Given
    world.worker()
    mine = sign_on(world.database)
    old = world.connect()
    execute(old, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    rows(old, "SELECT count(*) FROM autotask_live")

    def costs():
        # As in the loop now and then: from five seconds before the last claimed task.
        [(since,)] = rows(world.database, "SELECT clock_timestamp() - interval '5 s'")
        return explained(world.database, *claim_of(mine, since))[1:]

    # When
    callers = [world.caller("--rate=100") for _ in range(2)]
    time.sleep(5.0 + lasting)
    last = [costs() for _ in range(100)]
    recent = sum(event.at > time.monotonic() - 5.0 for event in world.events("start"))
    # A straggler, which is committed below the bound of the claims.
    straggler = world.connect()
    execute(straggler, "BEGIN")
    late = tasks.note.new_call((), {})
    enqueue.insert(straggler, late)
    time.sleep(8)
    execute(straggler, "COMMIT")
    committed = time.monotonic()
    world.ledger.write("enqueued", id=late.id)
    started = world.wait_for_start(str(late.id)).at - committed
    for caller in callers:
        caller.finish()

    # Then
    world.drain()
    execute(old, "ROLLBACK")
    figures.record("tasks under the snapshot", len(world.events("start")))
    # It reads the dead entries of those five seconds, and not those of all that ran under the snapshot.
    figures.at_most("pages a claim, for each task of five seconds", max(pages for pages, _ in last) / recent, 1.5)
    figures.at_most("claim p99", quantile([milliseconds for _, milliseconds in last], 0.99), 5.0, "ms")
    waits = latencies(world)
    figures.record("start after the call p99", 1000 * quantile(waits, 0.99), "ms")
    figures.at_most("straggler waits", started, 10.0, "s")
    assert world.check().violations == []


@pytest.mark.fault(31, quick=True)
def test_a_task_whose_transaction_commits_late_is_found(world, figures, lasting):
    # Given: a transaction that has enqueued, and stays open during others
    world.worker()
    connection = world.connect()
    execute(connection, "BEGIN")
    late = tasks.note.new_call((), {})
    enqueue.insert(connection, late)
    caller = world.caller("--rate=20")

    # When
    time.sleep(max(6.0, lasting))
    execute(connection, "COMMIT")
    world.ledger.write("enqueued", id=late.id)
    committed = time.monotonic()

    # Then
    started = world.wait_for_start(str(late.id))
    figures.at_most("started after", max(0.0, started.at - committed), 10.0, "s")
    caller.finish()
    world.drain()
    assert world.check().violations == []


MANY = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, retries, ttl, arguments, payload)
SELECT gen_random_uuid(), 'tests.later', 'default', 0, 0, now(), now() + n * interval '1 s' + interval '1 day', 0, 300,
       '', 'payload'
FROM generate_series(1, %(count)s) AS n
"""

FINISHED = """
INSERT INTO autotask_result (id, state, queue, priority, name, arguments, created_at, run_at, retries, ttl, ended_at,
                             kept_until)
SELECT gen_random_uuid(), 3, 'default', 0, 'tests.done', '', now(), now(), 0, 300, now() - interval '1 h',
       now() + %(keep)s * interval '1 s'
FROM generate_series(1, %(count)s) AS n
"""


@pytest.mark.fault(32, 33)
def test_claims_cost_the_same_next_to_millions_of_rows_whatever_the_statistics_say(own_server, make_world, figures):
    # Given: nothing vacuums or analyzes
    world = make_world(own_server(autovacuum="off", maintenance_work_mem="256MB"))
    connection = world.database
    mine = sign_on(connection)

    def look(when, ready=False):
        indexes, pages, _ = explained(connection, *claim_of(mine))
        figures.at_most(f"pages a claim, {when}", pages, 200)
        assert "all of autotask_task" not in indexes, indexes
        if ready:
            assert "autotask_ready_pkey" in indexes and "all of autotask_ready" not in indexes, indexes
        look = claim.LANES.format(known="true", in_force=pauses.IN_FORCE.format("p"))
        _, lanes, _ = explained(connection, look, {"queues": [], "priorities": [], "executors": []})
        _, promotion, _ = explained(connection, promote.PROMOTE.format(limit=500, unless=""), {})
        figures.at_most(f"pages an idle look, {when}", lanes + promotion, 40)

    # When it was analyzed while empty
    for table in ("autotask_task", "autotask_ready", "autotask_result"):
        execute(connection, f"ANALYZE {table}")
    execute(connection, MANY, {"count": 1_000_000})
    execute(connection, FINISHED, {"count": 1_000_000, "keep": 3600})
    look("full, with the statistics of an empty table")
    execute(connection, "ANALYZE autotask_task")
    look("full, with good statistics")

    # When a hundred thousand were ready, and are gone
    ready = world.call_many(tasks.note, [()] * 20_000)
    look("with 20000 ready", ready=True)
    execute(connection, "ANALYZE autotask_ready")
    execute(connection, "DELETE FROM autotask_ready")
    execute(connection, "DELETE FROM autotask_task WHERE state = 1")
    for table in ("autotask_task", "autotask_ready"):
        execute(connection, f"VACUUM {table}")
    look("with stale statistics")
    assert ready


@pytest.mark.fault(34)
def test_a_long_lock_on_the_table_harms_neither_workers_nor_their_tasks(world, figures):
    # Given: two workers with default settings, and a lock for longer than their leases
    world.settings = {}
    programs = [world.worker("--threads=2") for _ in range(2)]
    ids = world.call_many(tasks.note, [(20.0,)] * 4)
    wait_until(lambda: len(world.events("start")) == 4, what="the start of the tasks")
    leases = {program.pid: world.identity(program.pid).id for program in programs}
    connection = world.connect()

    # When
    execute(connection, "BEGIN")
    execute(connection, "LOCK TABLE autotask_task IN ACCESS EXCLUSIVE MODE")
    late = 0.0
    for _ in range(36):
        time.sleep(1.0)
        found = rows(
            connection, "SELECT max(extract(epoch FROM clock_timestamp() - seen_at))::float8 FROM autotask_worker"
        )
        late = max(late, found[0][0])
    execute(connection, "COMMIT")
    unlocked = time.monotonic()

    # Then
    world.wait_for(world.call(tasks.note))
    figures.at_most("work continues after", time.monotonic() - unlocked, 5.0, "s")
    for id in ids:
        world.wait_for(id)
    figures.at_most("longest without a sign of life", late, 0.7 * 30, "s")
    assert {program.pid: world.identity(program.pid).id for program in programs} == leases
    figures.exactly("tasks run again", world.check().executions - 5, 0)
    assert not any(program.has_ended() for program in programs)
    assert world.check().violations == []


@pytest.mark.fault(35)
def test_acts_on_the_same_rows_do_not_deadlock(world, figures, lasting):
    # Given
    lanes = [BoundedLane(Lane("default", 0), None)]
    stop = time.monotonic() + lasting
    errors, done = [], [0]
    everybody = [sign_on(world.database) for _ in range(3)]

    def ids(connection, table, count=20):
        return [row[0] for row in rows(connection, f"SELECT id FROM {table} ORDER BY random() LIMIT {count}")]

    def work(connection):
        me = sign_on(connection)
        everybody.append(me)
        claimed = claim.claim(connection, me, lanes, per_lane=20, limit=20)
        outcomes = [
            Outcome(t.id, t.fence, State.DONE if t.fence % 2 else State.ERROR, time.monotonic(), 0.0) for t in claimed
        ]
        finish.end(connection, outcomes[::-1][:8], now=time.monotonic(), error_ttl=60)
        finish.retry(connection, outcomes[8:12], now=time.monotonic())
        forgotten.reconcile(connection, me, [t.fence for t in claimed[4:]])

    def cancelling(connection):
        for id in ids(connection, "autotask_task"):
            cancel.cancel(connection, id)

    def burying(connection):
        bury(connection, everybody[int(time.monotonic_ns()) % len(everybody)])

    def requeueing(connection):
        for id in ids(connection, "autotask_result"):
            requeue.requeue(connection, id)

    def enqueueing(connection):
        many.insert_many(connection, [tasks.note.new_call((), {}) for _ in range(20)])
        promote.promote(connection)
        execute(connection, "UPDATE autotask_result SET kept_until = now() WHERE random() < 0.05 AND id IN "
                "(SELECT id FROM autotask_result ORDER BY id LIMIT 100)")  # fmt: skip
        prune.prune(connection, 50)

    def hammer(act):
        connection = world.connect()
        while time.monotonic() < stop:
            try:
                act(connection)
                done[0] += 1
            except DatabaseError as error:
                errors.append(f"{act.__name__}: {error}")

    # When
    acts = [work, work, work, cancelling, burying, requeueing, enqueueing, enqueueing]
    threads = [threading.Thread(target=hammer, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(lasting + 30)

    # Then
    figures.record("acts", done[0])
    assert done[0] > 100
    [(deadlocks,)] = rows(world.database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    figures.exactly("deadlocks", deadlocks, 0)
    assert errors == []


@pytest.mark.fault(53)
def test_a_storm_of_calls_is_not_a_storm_of_notifications(world, figures, lasting):
    # Given
    worker = world.worker(options={"POLL_INTERVAL": 30})
    world.wait_for(world.call(tasks.note))

    # When: single calls, for a sleeping worker
    for _ in range(60):
        time.sleep(0.25)
        world.call(tasks.note)
    world.drain()
    waits = latencies(world)
    figures.at_most("idle wake-up p50", 1000 * quantile(waits, 0.5), 20, "ms")
    figures.at_most("idle wake-up p99", 1000 * quantile(waits, 0.99), 100, "ms")

    # When: eight processes that call as fast as 500 a second
    callers = [world.caller("--rate=63") for _ in range(8)]
    heard, listener = count_notifications(world)
    began, calls = time.monotonic(), len(world.events("enqueued"))
    time.sleep(lasting)
    seconds = time.monotonic() - began
    listener.set()
    calls = len(world.events("enqueued")) - calls
    for caller in callers:
        caller.finish()

    # Then
    world.drain()
    figures.record("calls in a second", calls / seconds)
    figures.at_most("notifications of a process in a second", heard[0] / seconds / 8, 1.05 / NOTIFY_INTERVAL)
    assert not worker.has_ended()
    assert world.check().violations == []


def count_notifications(world):
    """Count notifications of tasks, in a thread; return the count and a function to stop it."""
    connection, heard, stop = world.connect(), [0], threading.Event()
    execute(connection, f"LISTEN {WORK_CHANNEL}")

    def listen():
        while not stop.wait(0.05):
            rows(connection, "SELECT 1")
            raw = connection.connection
            if hasattr(raw, "poll"):
                heard[0] += len(raw.notifies)
                raw.notifies.clear()
            else:
                heard[0] += len(list(raw.notifies(timeout=0)))

    threading.Thread(target=listen, daemon=True).start()
    return heard, stop


@pytest.mark.fault(54)
def test_many_old_results_are_pruned_while_tasks_run(own_server, make_world, figures, lasting):
    # Given
    world = make_world(own_server(maintenance_work_mem="256MB"))
    world.worker(options={"CLEAN_INTERVAL": 5})
    caller = world.caller("--rate=50")
    wait_until(lambda: len(world.events("start")) > 250, 30, "some work")
    base = quantile(latencies(world), 0.99)
    count = int(min(1_000_000, lasting * 20_000))

    # When
    execute(world.database, FINISHED, {"count": count, "keep": -10})
    began = time.monotonic()
    left = "SELECT count(*) FROM autotask_result WHERE kept_until < now() - interval '5 s'"
    world.until(lambda: rows(world.database, left)[0][0] == 0, 300, "the end of the pruning")
    seconds = time.monotonic() - began
    waits = latencies(world, since=began)
    caller.finish()

    # Then
    world.drain()
    figures.record("rows", count)
    figures.record("rows pruned in a second", count / seconds)
    figures.record("start after the call p99 before", 1000 * base, "ms")
    figures.at_most("start after the call p99 meanwhile", 1000 * quantile(waits, 0.99), max(2000 * base, 250), "ms")
    figures.exactly("statements that waited long for a lock", world.server.log().count("still waiting for"), 0)
    assert world.check().violations == []
