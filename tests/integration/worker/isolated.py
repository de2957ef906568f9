"""Atomic tasks whose transactions conflict with others, or are cut; see test_atomic.py."""

import threading
import time

from django.db import connection, transaction

from autotask.tasks import TaskContext, delayed_task
from tests.gates import wait_at
from tests.integration.worker.inside import insert

#: How often each task has run, by its argument.
runs: dict[str, int] = {}


def begin(name: str) -> int:
    runs[name] = runs.get(name, 0) + 1
    insert(name)
    return runs[name]


def level() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return str(cursor.fetchone()[0])


@delayed_task(atomic=True, takes_context=True)
def with_progress(context: TaskContext, name: str) -> str:
    begin(name)
    context.progress(1, 2)
    wait_at(name)
    context.progress(2, 2)
    return level()


@delayed_task(atomic=True)
def wait_for_test(name: str) -> int:
    if begin(name) == 1:
        wait_at(name)
    return runs[name]


@delayed_task(atomic=True)
def count(name: str, found: list[int], times: int) -> list[int]:
    """Conflict with another transaction *times* times."""
    begin(name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM counter")
        found.append(cursor.fetchone()[0])
        if runs[name] <= times:
            _in_thread(_count_elsewhere)
        cursor.execute("UPDATE counter SET number = number + 1")
    return found


def _count_elsewhere() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE counter SET number = number + 100")


def _in_thread(function) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def _echo(name: str) -> int:
    return begin(name)


echo = delayed_task(atomic=True, name="tests.isolated.echo")(_echo)
echo_once = delayed_task(atomic=True, at_most_once=True, name="tests.isolated.echo_once")(_echo)


@delayed_task(atomic=True)
def cut(name: str, times: int) -> int:
    """Lose the connection *times* times."""
    if begin(name) <= times:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return runs[name]


@delayed_task(atomic=True, retries=1, backoff=0.01)
def be_idle(name: str, asking: bool) -> int:
    """Do something else for longer than the server allows in a transaction."""
    begin(name)
    time.sleep(0.6)
    if asking:
        level()
    return runs[name]


@delayed_task(atomic=True, retries=1, backoff=0.01)
def ask_for_long(name: str, sql: str) -> int:
    """Run a statement that takes longer than the server allows for a transaction."""
    runs[name] = runs.get(name, 0) + 1
    with connection.cursor() as cursor:
        cursor.execute(sql)
    return runs[name]


@delayed_task(atomic=True, at_most_once=True)
def cut_once(name: str) -> int:
    begin(name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return runs[name]


@delayed_task(atomic=True)
def without_autocommit(name: str) -> int:
    transaction.on_commit(lambda: None)
    return begin(name)


@delayed_task(atomic=True)
def end_transaction(text: str, *statements: str) -> None:
    """End the transaction of the task by other means than Django's."""
    for statement in (f"INSERT INTO inside_effect VALUES ('{text}')", *statements):
        connection.cursor().execute(statement)


@delayed_task(atomic=True)
def ask_nothing(text: str) -> str:
    return text
