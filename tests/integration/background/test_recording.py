"""How the outcomes of values are recorded while the next ones are handled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.models import Task
from autotask.store.connection import execute, rows
from autotask.task import DONE
from tests.helpers import wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start
from tests.programs import Program

#: Not pg_stat_activity: a transaction sees that as it was at its first look.
WAITING = "SELECT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


#: After some others, whose statements make the connection prepare those for the last one of a claim and for the others.
BLOCKED = 12


@contextmanager
def record_blocked(start: Start, lines: Lines) -> Iterator[tuple[Program, list[Any]]]:
    """Have the outcome of one value wait, until the end of the block, while the next one is handled."""
    handles = [tasks.handle.put(number) for number in range(BLOCKED + 3)]
    tasks.handle.start()
    with transaction.atomic():
        execute(connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": handles[BLOCKED].id})
        program = start()
        wait_until(lambda: rows(connection, WAITING), what="the record that waits")
        lines.wait_for("handle", BLOCKED + (2 if is_psycopg3 else 1))
        yield program, handles


def test_an_outcome_that_postgresql_has_is_recorded_though_the_worker_is_killed(start: Start, lines: Lines) -> None:
    with record_blocked(start, lines) as (program, handles):
        program.kill()
        program.process.wait()
    wait_until(lambda: handles[BLOCKED].status == DONE)
    start()
    wait_until(lambda: not Task.objects.exists())
    again = [BLOCKED + 1] if is_psycopg3 else []
    assert lines.words("handle") == sorted([*range(BLOCKED + 3), *again])


def test_an_outcome_whose_connection_breaks_is_recorded_in_another_one(start: Start, lines: Lines) -> None:
    with record_blocked(start, lines) as (_, handles):
        rows(connection, f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS waiting")
    wait_until(lambda: not Task.objects.exists())
    assert lines.words("handle") == list(range(BLOCKED + 3))
    assert {handle.status for handle in handles} == {DONE}
