"""What is measured: each function makes one figure, or several, and leaves empty tables."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

from django.db import connection

from autotask.task import new_id
from benchmarks.functions import nothing

Figures = dict[str, float]

#: The same columns and width as a task has, without anything that autotask does.
BARE_INSERT = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at, retries, ttl, arguments, payload)
VALUES (%s, %s, 'default', 0, 1, clock_timestamp(), clock_timestamp(), clock_timestamp(), 0, 300, %s, %s)
"""


def clear() -> None:
    """Empty the tables, and let the server put them in order."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE autotask_task, autotask_result, autotask_attempt")
        cursor.execute("VACUUM ANALYZE autotask_task")
        cursor.execute("CHECKPOINT")


def enqueue(count: int) -> Figures:
    """Calls one by one, each with its own commit, beside a bare INSERT of the same width on the same cursor."""
    bare = _per_second(count, lambda number: _insert_bare())
    clear()
    calls = _per_second(count, nothing)
    clear()
    return {"enqueue one by one, per s": calls, "bare INSERT, per s": bare, "enqueue / bare INSERT": calls / bare}


def enqueue_many(count: int) -> Figures:
    """One call of enqueue_many()."""
    began = time.perf_counter()
    nothing.enqueue_many([(number,) for number in range(count)])
    seconds = time.perf_counter() - began
    clear()
    return {f"enqueue_many of {count}, per s": count / seconds}


def drain(count: int) -> Figures:
    """One worker process takes what waits, from its first claim until the table of live tasks is empty."""
    nothing.enqueue_many([(number,) for number in range(count)])
    worker = subprocess.Popen([sys.executable, "-m", "django", "autotask", "worker"])
    try:
        _wait_until(lambda: _live() < count)
        before, began = _live(), time.perf_counter()
        _wait_until(lambda: _live() == 0)
        seconds = time.perf_counter() - began
    finally:
        worker.terminate()
        worker.wait()
    clear()
    return {"drain, tasks per s": before / seconds}


def latency(count: int) -> Figures:
    """On an idle system with a companion, which lives and dies with a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.latency", str(count)], check=True, stdout=subprocess.PIPE, text=True
    )
    clear()
    figures: Figures = json.loads(answer.stdout)
    return figures


def _insert_bare() -> None:
    with connection.cursor() as cursor:
        cursor.execute(BARE_INSERT, (new_id(), "benchmarks.functions.nothing", "number=1", b"x" * 70))


def _per_second(count: int, act: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(count):
        act(number)
    return count / (time.perf_counter() - began)


def _live() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM autotask_task")
        return int(cursor.fetchone()[0])


def _wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)
