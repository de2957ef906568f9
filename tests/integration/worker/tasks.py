"""Task functions that the tests of the worker run."""

import logging
import os
import time
from pathlib import Path

from django.db import connection, transaction

from autotask.tasks import delayed_task, periodic_task
from tests.gates import gate as gate, wait_at


class Unshowable(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Causeless(Exception):
    """An exception that does not say what it comes from."""

    @property
    def __context__(self):
        raise RuntimeError("no cause")


class _Nameless(type):
    @property
    def __module__(cls):
        raise RuntimeError("no module")

    @property
    def __name__(cls):
        raise RuntimeError("no name")


class Nameless(Exception, metaclass=_Nameless):
    """An exception whose class has no name."""


class Closed(Exception):
    """An exception that does not say anything."""

    def __getattribute__(self, name):
        raise RuntimeError("closed")


@delayed_task(atomic=True)
def hide_in_a_transaction(path):
    """Return a coroutine, as a decorator does that does not await what it decorates."""
    return write_later(path)


async def write_later(path):
    Path(path).write_text("ran")


@delayed_task
def echo(value):
    return value


@delayed_task
def echo_length(value):
    return len(value)


@delayed_task
def write(path: str, line: str) -> None:
    """Append one line; a line this short is written by the system in one piece."""
    with open(path, "a") as file:
        file.write(line + "\n")


@delayed_task(retries=2, backoff=0.05)
def fail_until(path: str, successes_at: int) -> int:
    """Fail until it has been called so often."""
    with open(path, "a") as file:
        file.write("x")
    calls = len(Path(path).read_text())
    if calls < successes_at:
        raise ValueError(f"call {calls}")
    return calls


@delayed_task(retries=5, backoff=0.01, retry_on=ConnectionError)
def fail_with_value_error() -> None:
    raise ValueError("not worth another try")


@delayed_task(retries=5, backoff=0.01, no_retry_on=(LookupError,))
def fail_with_key_error() -> None:
    raise KeyError("gone")


@delayed_task(retries=1, backoff=lambda exception, attempt: "soon")
def fail_with_bad_backoff() -> None:
    raise ValueError("first")


@delayed_task
def raise_by_name(name: str) -> None:
    raise {
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "GeneratorExit": GeneratorExit(),
        "Unshowable": Unshowable(),
        "control": ValueError("line one\nline two\x1b[31m\x00"),
        "Causeless": Causeless(),
        "Nameless": Nameless(),
        "Closed": Closed(),
    }[name]


@delayed_task
def fork(how: str) -> int | str:
    """Fork, leave the function in the new process as well, and return the exit status of that."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "raise":
        raise ValueError("child")
    if how == "exit":
        raise SystemExit(3)
    return "child"


@delayed_task(executor="process")
def fork_in_process(how: str) -> int | str:
    return fork.call(how)


@delayed_task
async def fork_in_coroutine(how: str) -> int | str:
    return fork.call(how)


@delayed_task
def recurse() -> None:
    recurse.call()


@delayed_task(retries=3, backoff=0.01)
def return_lambda(path: str):
    with open(path, "a") as file:
        file.write("x")
    return lambda: None


@delayed_task
def return_bytes(count: int) -> bytes:
    return b"x" * count


@delayed_task
async def double(value: int) -> int:
    return 2 * value


@delayed_task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@delayed_task(takes_context=True)
def log_by_id(context) -> None:
    logging.getLogger(f"autotask.task.{context.id}").debug("a line")


@delayed_task
def pass_gate(name: str) -> str:
    """Wait until the test opens the gate."""
    wait_at(name)
    return name


@delayed_task
def fail_behind_gate(name: str) -> None:
    pass_gate.call(name)
    raise ValueError("behind the gate")


@delayed_task
def leave_transaction_open() -> None:
    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@delayed_task
def close_raw_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.connection.close()


@delayed_task
def query() -> tuple[int, bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0], connection.in_atomic_block


@delayed_task
def enqueue_another(value: int) -> str:
    return str(echo(value).id)


@delayed_task(queue="rare", priority=7)
def on_rare_queue() -> float:
    return time.monotonic()


@periodic_task(seconds=0.2, name="tests.ticking")
def ticking() -> None:
    path = os.environ.get("AUTOTASK_TEST_TICKS")
    if path:
        with open(path, "a") as file:
            file.write("tick\n")
