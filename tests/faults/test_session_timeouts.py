"""Timeouts of the role and of the database (fault 64)."""

import time

import pytest

from autotask.store import notify
from autotask.store.connection import execute, rows
from tests.faults.app import tasks
from tests.helpers import wait_until

TIMEOUTS = {"statement_timeout": "200ms", "lock_timeout": "50ms", "idle_session_timeout": "200ms"}


@pytest.fixture
def timid_world(world, request):
    """A world whose programs use a role with short timeouts, its own or those of the database."""
    whose = request.param if request.param.startswith("ROLE") else f"DATABASE {world.name}"
    timeouts = dict(TIMEOUTS)
    if world.database.pg_version >= 170000:
        timeouts["transaction_timeout"] = "300ms"
    world.server.sql("CREATE ROLE timid LOGIN")
    world.server.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO timid", world.name)
    world.server.sql("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO timid", world.name)
    assert world.database.is_usable()  # The connection of the test is open, and so without the timeouts.
    for name, value in timeouts.items():
        world.server.sql(f"ALTER {whose} SET {name} = '{value}'")
    world.user = "timid"
    yield world
    world.close()
    world.server.sql(f"DROP DATABASE {world.name} WITH (FORCE)")
    world.server.sql("DROP ROLE timid")


def sessions(world):
    found = rows(
        world.database,
        "SELECT application_name, pid FROM pg_stat_activity "
        "WHERE application_name LIKE 'autotask %' AND datname = current_database()",
    )
    return {name: pid for name, pid in found if name != "autotask recorder"}


@pytest.mark.parametrize(
    "timid_world",
    [
        pytest.param("ROLE timid", marks=pytest.mark.fault(64, quick=True)),
        pytest.param("DATABASE", marks=pytest.mark.fault(64)),
    ],
    indirect=True,
)
def test_the_sessions_of_a_worker_are_not_subject_to_timeouts_of_others(timid_world, figures, lasting):
    # Given
    world = timid_world
    worker = world.worker(options={"POLL_INTERVAL": 30})
    world.wait_for(world.call(tasks.note))
    wait_until(lambda: len(sessions(world)) == 2, what="the sessions of the worker")
    before = sessions(world)

    # When: they are idle for a while, and then have to wait for a lock
    time.sleep(min(2.0, lasting))
    locked = world.database
    notify.send(locked)
    locked.set_autocommit(False)
    try:
        execute(locked, "LOCK TABLE autotask_task")
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_until(lambda: rows(locked, waiting), what="a session that waits for the lock")
        # Longer than all of these timeouts, and shorter than that of a worker's own sessions.
        waited = "SELECT 1 FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > interval '0.35 s'"
        wait_until(lambda: rows(locked, waited), what="a session that has waited for longer than its timeouts")
    finally:
        locked.rollback()
        locked.set_autocommit(True)
    called = world.call_many(tasks.note, [()] * 20)

    # Then
    world.drain()
    figures.exactly("sessions lost", len(before.items() - sessions(world).items()), 0)
    figures.exactly("warnings", worker.output().count("WARNING") + worker.output().count("ERROR"), 0)
    figures.exactly("executions", len(world.events("start")), 1 + len(called))
    assert world.check().violations == []
