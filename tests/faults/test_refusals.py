"""Rows that the database refuses for good, while everything else works (fault 59)."""

import functools

import pytest

from autotask.store.connection import execute
from autotask.task import State
from tests.faults.app import tasks
from tests.helpers import wait_until


def refuse(world, table, event, condition="true"):
    """Make a table refuse rows, and return the function that ends this."""
    execute(
        world.database,
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF {condition} THEN RAISE 'refused by a test'; END IF;
            RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
        END $$
        """,
    )
    execute(world.database, f"CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()")
    return lambda: execute(world.database, "DROP FUNCTION refuse CASCADE")


def says(program, words):
    return words in program.output()


@pytest.mark.fault(59)
def test_an_outcome_that_is_refused_for_good_keeps_no_other_task_from_finishing(world, figures):
    # Given: a task whose result cannot be stored in any form, among others
    world.settings |= {"LEASE": 2, "HEARTBEAT": 0.5}
    ids = world.call_many(tasks.note, [()] * 100)
    odd = ids[50]
    end = refuse(world, "autotask_result", "INSERT", f"NEW.id = '{odd}'")

    # When: workers are killed, once more than a task may lose one
    for deaths in range(3):
        worker = world.worker()
        world.call_many(tasks.note, [()] * 10)
        wait_until(lambda: world.live() == 1, 30, "the end of the others")
        world.wait_for_start(odd, deaths + 1)
        wait_until(functools.partial(says, worker, "is set aside"), 20, "the line about it")
        world.kill(worker.pid)
    worker = world.worker()
    wait_until(functools.partial(says, worker, "can be neither rescued nor finished"), 20, "the line about the orphan")
    world.call_many(tasks.note, [()] * 10)
    wait_until(lambda: world.live() == 1, 30, "the end of the others")

    # Then
    assert world.task(odd).state is State.RUNNING
    figures.at_most("runs of the task that is refused", len(world.events("start", odd)), 3)

    # and when the cause is gone, it finishes like others
    end()
    worker.signal(15)
    worker.wait(20)
    world.worker()
    world.drain(90)
    assert world.task(odd).state is State.ERROR
    assert world.check().violations == []


@pytest.mark.fault(59)
def test_a_right_that_is_missing_for_a_while_costs_no_result(world, figures):
    # Given: workers of a role without the right to store results
    world.settings |= {"LEASE": 2, "HEARTBEAT": 0.5}
    role = world.name[:50]
    execute(world.database, f"CREATE ROLE {role} LOGIN")
    execute(world.database, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    execute(world.database, f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    execute(world.database, f"REVOKE INSERT ON autotask_result FROM {role}")
    world.user = role
    worker = world.worker()
    world.user = "postgres"
    try:
        ids = world.call_many(tasks.note, [()] * 20)
        wait_until(lambda: worker.output().count("is set aside") == 20, 40, "the setting aside")

        # When
        execute(world.database, f"GRANT INSERT ON autotask_result TO {role}")

        # Then
        world.drain(60)
        assert {world.task(id).state for id in ids} == {State.DONE}
        figures.at_most("runs of each task", max(len(world.events("start", id)) for id in ids), 1)
        assert world.check().violations == []
    finally:
        worker.signal(15)
        worker.wait(20)
        execute(world.database, f"DROP OWNED BY {role}")
        execute(world.database, f"DROP ROLE {role}")
