"""A worker's own life: stopping, losing its connections, its lease and its neighbours."""

import threading
import time
import uuid

import pytest
from django.db import transaction

from autotask.store import claim, read, rescue, workers
from autotask.store.claim import Lane
from autotask.store.connection import current, execute, rows
from autotask.task import DONE, ERROR, WAITING, State
from autotask.why import Code
from autotask.worker import recorder, shutdown, turns
from autotask.worker.claiming.claimer import Claimer, Prospect
from autotask.worker.claiming.placement import Placement
from autotask.worker.identity import make_identity
from autotask.worker.pools import threads
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import edit, let_run
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def stop_in_background(worker):
    threading.Thread(target=worker.stop).start()


def test_a_worker_that_is_stopped_finishes_running_tasks_and_releases_waiting_ones(start_worker, stopping):
    # Given
    worker = start_worker(threads=1)
    running = tasks.pass_gate("stop")
    assert tasks.gate("stop reached").wait(10)
    waiting = tasks.echo.enqueue_many([(i,) for i in range(5)])

    # When
    worker.stop()
    assert stopping.wait(patient(20))  # It has seen the request, and has released those that it held ahead.
    tasks.gate("stop").set()

    # Then
    wait_until(lambda: running.status is DONE)
    wait_until(lambda: not read.workers(current()), what="the worker's sign-off")
    assert {(handle.status, handle.attempts) for handle in waiting} == {(WAITING, 0)}


def test_a_task_that_does_not_stop_within_the_grace_is_released_with_its_attempt_restored(start_worker, settings):
    # Given
    worker = start_worker(threads=1)
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.2
    handle = tasks.pass_gate("stubborn")
    assert tasks.gate("stubborn reached").wait(10)

    # When
    worker.stop()

    # Then
    wait_until(lambda: handle.status is WAITING)
    assert handle.attempts == 0
    tasks.gate("stubborn").set()


def test_the_first_request_to_stop_after_a_change_of_the_code_leaves_the_grace(start_worker, settings, monkeypatch):
    # Given
    monkeypatch.setattr(shutdown, "SAME_REQUEST", 0)
    worker = start_worker(threads=1)
    settings.AUTOTASK_SHUTDOWN_GRACE = 1
    handle = tasks.pass_gate("renewed")
    assert tasks.gate("renewed reached").wait(10)
    worker.renew()

    # When
    asked_at = time.monotonic()
    worker.stop()

    # Then
    wait_until(lambda: handle.status is WAITING)
    assert time.monotonic() - asked_at >= 1
    tasks.gate("renewed").set()


def kill(role):
    """End the connections that are named so, and return one value for each of them."""
    return rows(
        current(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = %(name)s AND datname = current_database()",
        {"name": f"autotask {role}"},
    )


def sessions():
    """Return the sessions of this database that are not a worker's own."""
    sql = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
        "AND application_name NOT LIKE 'autotask %'"
    )
    return {pid for (pid,) in rows(current(), sql)}


def test_a_worker_lives_through_the_loss_of_each_of_its_connections(worker):
    for role in ("claim", "recorder", "services"):
        # Given
        assert tasks.echo(role).wait(10) == role

        # When
        killed = wait_until(lambda role=role: kill(role), what=f"a connection named {role}")

        # Then
        assert killed == [(True,)], f"the worker has one connection named {role}"
        assert tasks.echo(role).wait(10) == role


def test_an_idle_worker_does_not_keep_the_connection_for_outcomes(start_worker, monkeypatch):
    # Given
    monkeypatch.setattr(recorder, "IDLE", 0.2)
    start_worker()
    connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'autotask recorder'"

    # When
    assert tasks.echo(1).wait(10) == 1

    # Then
    wait_until(lambda: rows(current(), connections) == [(0,)], what="the end of the connection")
    assert tasks.echo(2).wait(10) == 2


def test_the_connection_for_outcomes_is_opened_while_the_task_runs(start_worker, monkeypatch):
    # Given
    monkeypatch.setattr(recorder, "IDLE", 0.2)
    start_worker()
    connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'autotask recorder'"
    assert tasks.echo(1).wait(10) == 1
    wait_until(lambda: rows(current(), connections) == [(0,)], what="the end of the connection")
    monkeypatch.setattr(recorder, "IDLE", 60.0)

    # When
    handle = tasks.pass_gate("ready")
    assert tasks.gate("ready reached").wait(10)

    # Then
    wait_until(lambda: rows(current(), connections) == [(1,)], what="the connection")
    tasks.gate("ready").set()
    assert handle.wait(10)


def test_a_thread_without_tasks_does_not_keep_the_connection_of_its_last_one(start_worker, monkeypatch):
    # Given connections that Django would keep for ever
    monkeypatch.setattr(threads, "IDLE", 0.1)
    monkeypatch.setitem(current().settings_dict, "CONN_MAX_AGE", None)
    before = sessions()
    start_worker(threads=1)

    for _ in range(2):
        # When
        handle = tasks.query()
        wait_until(lambda: sessions() - before, what="the connection of the task")
        assert handle.wait(10) == (1, False)

        # Then
        wait_until(lambda: not sessions() - before, what="the end of the connection")


def test_the_lease_is_renewed_while_a_service_waits_for_the_database(start_worker):
    # Given
    worker = start_worker()
    wait_until(lambda: read.workers(current()), what="the entry in the register")
    others = worker.services.others

    # When a service keeps the connection that both use
    with others.in_use:
        fresh_until = worker.registration.fresh_until

        # Then
        wait_until(lambda: worker.registration.fresh_until > fresh_until + 0.3, what="beats on another connection")
        assert wait_until(lambda: kill("heartbeat"), what="that connection") == [(True,)]
        fresh_until = worker.registration.fresh_until
        wait_until(lambda: worker.registration.fresh_until > fresh_until, what="a beat after its loss")
    wait_until(lambda: not kill("heartbeat"), what="the end of that connection")


def test_a_worker_that_was_buried_goes_on_under_a_new_name(worker):
    # Given
    former = wait_until(lambda: read.workers(current()))[0].id

    # When
    execute(current(), "DELETE FROM autotask_worker")

    # Then
    wait_until(lambda: [w for w in read.workers(current()) if w.id != former and w.alive])
    assert tasks.echo("again").wait(10) == "again"


def test_the_outcome_of_a_worker_that_lost_its_task_is_refused(worker):
    # Given
    handle = tasks.pass_gate("late")
    assert tasks.gate("late reached").wait(10)

    # When: the task is given to another worker, which finishes it first
    edit("UPDATE autotask_task SET state = 0, run_at = now() + interval '1 h' WHERE id = %(id)s", {"id": handle.id})
    execute(current(), "DELETE FROM autotask_claim WHERE %(id)s = ANY(ids)", {"id": handle.id})
    tasks.gate("late").set()

    # Then
    wait_until(lambda: worker.recorder.refused == 1, what="the refusal")
    assert handle.status is WAITING


def test_a_deleted_row_does_not_disturb_the_worker_that_runs_it(worker):
    # Given
    handle = tasks.pass_gate("deleted")
    assert tasks.gate("deleted reached").wait(10)

    # When
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": handle.id})
    tasks.gate("deleted").set()

    # Then
    wait_until(lambda: worker.recorder.refused == 1, what="the refusal")
    assert tasks.echo(1).wait(10) == 1


def test_the_tasks_of_a_dead_process_on_this_host_come_back_at_once(start_worker):
    # Given: a worker of a process that is gone, with a running task
    dead = make_identity(kind="worker", serves_pid=None, queues=(), threads=1)
    dead = type(dead)(**{name: getattr(dead, name) for name in dead.__slots__} | {"id": uuid.uuid4(), "pid": 2**22 - 1})
    workers.sign_on(current(), dead, lease=3600)
    handle = tasks.echo("back")
    let_run(handle.id, worker=dead.id)

    # When
    start_worker()

    # Then: it need not wait for the lease
    assert handle.wait(20) == "back"
    assert handle.attempts == 2
    assert [attempt.state for attempt in handle.failed_attempts] == [State.LOST]


def test_a_task_that_kills_its_workers_ends_in_error(settings):
    # Given
    settings.AUTOTASK_MAX_CRASHES = 3
    handle = tasks.echo("poison")

    # When
    for _ in range(3):
        identity = make_identity(kind="worker", serves_pid=None, queues=(), threads=1)
        workers.sign_on(current(), identity, lease=3600)
        let_run(handle.id, worker=identity.id)
        rescue.rescue(current(), [identity.id], reason="signal 9 (SIGKILL)", max_crashes=3, error_ttl=60)

    # Then
    assert handle.status is ERROR
    assert handle.error_message == "killed its worker 3 times: signal 9 (SIGKILL)"
    assert len(handle.failed_attempts) == 3


def test_outcomes_do_not_wait_for_one_whose_row_is_locked(start_worker, other_connection):
    # Given: a running task whose row somebody locks, as cancel() in a long transaction does
    start_worker(threads=2)
    locked = tasks.pass_gate("locked")
    assert tasks.gate("locked reached").wait(10)
    other_connection.set_autocommit(False)
    execute(other_connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": locked.id})
    tasks.gate("locked").set()

    # When
    others = tasks.echo.enqueue_many([(i,) for i in range(20)])

    # Then
    for handle in others:
        handle.wait(10)
    assert not locked.ready

    # When
    other_connection.rollback()
    other_connection.set_autocommit(True)

    # Then
    assert locked.wait(10) == "locked"


def test_a_worker_that_stops_waits_for_the_row_of_an_outcome_that_is_locked(start_worker, other_connection, settings):
    # Given
    settings.AUTOTASK_SHUTDOWN_GRACE = 30
    worker = start_worker()
    handle = tasks.pass_gate("locked at the end")
    assert tasks.gate("locked at the end reached").wait(10)
    other_connection.set_autocommit(False)
    execute(other_connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": handle.id})

    # When: the outcome has been tried to be written, and has been put back
    tasks.gate("locked at the end").set()
    worker.stop()
    seen = set()
    wait_until(lambda: len(noted(seen, tries())) >= 2, what="a second try")
    other_connection.rollback()
    other_connection.set_autocommit(True)

    # Then
    assert handle.wait(10) == "locked at the end"
    wait_until(lambda: not read.workers(current()), what="the sign-off")


def tries():
    """Return when each statement that waits for the lock of a row has begun."""
    sql = "SELECT query_start FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return rows(current(), sql)


def noted(seen, more):
    """Return what was seen, with more of it."""
    seen.update(more)
    return seen


def test_urgent_work_in_an_unknown_lane_is_found_while_the_known_ones_have_enough(start_worker):
    # Given
    backlog = tasks.nap.enqueue_many([(0.05,)] * 400)
    start_worker(threads=2)
    wait_until(lambda: backlog[0].ready)

    # When
    urgent = tasks.echo.using(priority=100)("urgent")

    # Then
    assert urgent.wait(10) == "urgent"
    assert not backlog[-1].ready


def test_a_worker_does_not_look_into_the_lanes_that_keep_it_busy(start_worker, monkeypatch):
    # Given
    looks, find = [], claim.find_lanes
    monkeypatch.setattr(claim, "find_lanes", lambda *args, **kinds: looks.append(kinds["sure"]) or find(*args, **kinds))

    # When
    backlog = tasks.nap.enqueue_many([(0.01,)] * 400)
    start_worker(threads=2)

    # Then: it does so only before it has claimed, and when it gets less than it wants
    backlog[-1].wait(20)
    wait_until(lambda: looks[-1] == (), what="a look of an idle worker")
    assert looks[0] == ()
    assert (Lane("default", 0),) in looks


def test_queues_of_equal_priority_take_turns_while_each_has_more_than_the_worker_takes(start_worker):
    # Given tasks that take so long that the worker looks for lanes after each claim
    backlogs = [tasks.nap.using(queue=queue).enqueue_many([(0.1,)] * 20) for queue in ("a", "b", "c")]

    # When
    start_worker(threads=1)

    # Then
    for backlog in backlogs:
        backlog[3].wait(20)
    assert not any(backlog[-1].ready for backlog in backlogs)


@pytest.fixture
def others(monkeypatch):
    """Return the turns of workers of one family with those that a test starts; each makes a large claim, and keeps at it."""
    memory = turns.MEMORY.new()
    monkeypatch.setattr(turns.MEMORY, "of_worker", lambda: memory)
    monkeypatch.setattr(turns, "LONGEST", 600.0)
    others = [turns.Turns(memory) for _ in range(turns.TURNS)]
    assert all(each.begin(turns.LARGE) for each in others)
    return others


def test_a_single_task_does_not_wait_for_the_large_claims_of_others(start_worker, others):
    # Given a worker with room for many tasks as short as those that it has just run
    start_worker(threads=4)
    for number in range(20):
        assert tasks.echo(number).wait(10) == number


def test_a_worker_waits_for_its_turn_to_make_a_large_claim(start_worker, others, monkeypatch):
    # Given
    looks, take = [], Claimer.take
    monkeypatch.setattr(Claimer, "take", lambda *args: looks.append(found := take(*args)) or found)

    # When
    start_worker(threads=2)
    handles = tasks.echo.enqueue_many([(number,) for number in range(1000)])
    wait_until(lambda: Prospect.TURN in looks, what="a claim that has to wait")

    # Then
    assert not handles[-1].ready
    others[0].end()
    assert [handle.wait(20) for handle in handles] == list(range(1000))


def test_a_task_that_waits_behind_long_ones_is_released_to_a_free_worker(start_worker):
    # Given: a worker that knows only short tasks holds some behind two long ones
    first = start_worker(threads=2)
    for handle in tasks.echo.enqueue_many([(i,) for i in range(50)]):
        handle.wait(10)
    long = tasks.pass_gate.enqueue_many([("long",), ("long",)])
    short = tasks.echo.enqueue_many([(i,) for i in range(30)])
    wait_until(lambda: len(first.held) > 2, what="a claim of more than can run")

    # When
    start_worker(threads=1)

    # Then
    for handle in short:
        handle.wait(10)
    tasks.gate("long").set()
    for handle in long:
        handle.wait(10)


def test_a_long_task_does_not_keep_others_from_running_when_there_is_a_suspect(start_worker):
    # Given
    start_worker(threads=2)
    long = tasks.pass_gate("beside")
    assert tasks.gate("beside reached").wait(10)
    suspect = tasks.echo.using(delay=0.01)("suspect")
    edit("UPDATE autotask_task SET lost = 1 WHERE id = %(id)s", {"id": suspect.id})

    # When
    innocent = tasks.echo("innocent")

    # Then
    assert innocent.wait(10) == "innocent"
    tasks.gate("beside").set()
    assert long.wait(10) == "beside"
    assert suspect.wait(10) == "suspect"


def test_a_suspect_runs_alone(start_worker):
    # Given: a task that has lost its worker before
    suspect = tasks.pass_gate("suspect")
    edit("UPDATE autotask_task SET lost = 1 WHERE id = %(id)s", {"id": suspect.id})
    start_worker(threads=4)
    assert tasks.gate("suspect reached").wait(10)

    # When
    innocent = tasks.echo("innocent")

    # Then
    time_of_check = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > time_of_check or innocent.ready, what="half a second")
    assert innocent.status is WAITING
    assert innocent.why().code is Code.SUSPECT
    assert str(suspect.id) in innocent.why().sentence
    tasks.gate("suspect").set()
    assert suspect.wait(10) == "suspect"
    assert innocent.wait(10) == "innocent"


def has_ended_or_gone(handle):
    task = read.task(current(), handle.id)
    return task is None or task.state.ended


def test_old_results_are_pruned_with_their_attempts_and_others_stay(start_worker, settings):
    # Given
    settings.AUTOTASK_ERROR_TTL = 0
    start_worker()
    old = tasks.raise_by_name.using(ttl=0)("SystemExit")
    young = tasks.echo.using(ttl=300)("stays")
    wait_until(lambda: young.ready and has_ended_or_gone(old))

    # When
    start_worker()  # a pruner begins with a look

    # Then
    wait_until(lambda: read.task(current(), old.id) is None, what="the pruning of the old result")
    assert read.attempts(current(), old.id) == []
    young.refresh()
    assert young.result == "stays"


def test_a_suspect_that_ends_before_its_worker_looks_again_does_not_end_the_worker(start_worker, monkeypatch):
    # Given: a worker whose loop hangs until the suspect has ended and its outcome is recorded
    worker = start_worker()
    place = Placement.place

    def place_and_stand_still(placement, claimed, pool):
        place(placement, claimed, pool)
        if any(task.lost for task in claimed):
            wait_until(lambda: not worker.held, what="the end of the suspect")

    monkeypatch.setattr(Placement, "place", place_and_stand_still)

    # When
    with transaction.atomic():
        suspect = tasks.echo("suspect")
        edit("UPDATE autotask_task SET lost = 1 WHERE id = %(id)s", {"id": suspect.id})

    # Then
    assert suspect.wait(10) == "suspect"
    assert tasks.echo("next").wait(10) == "next"
    assert not worker.claimer.quarantine.runs_alone
