"""Enqueueing with autotask, compared with bare statements that write the same rows on Django's own cursor."""

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.task import new_id
from benchmarks.drivers.base import Driver

#: Calls and statements in each turn, short enough that other load on the machine affects both alike.
SLICE = 200

#: Times that a bulk call and a COPY take turns.
TURNS = 5

Row = tuple[Any, ...]


def enqueue_beside_insert(driver: Driver) -> dict[str, Any]:
    """Measure calls a second, each with its own commit, and INSERTs of the same row."""
    driver.connect()
    driver.enqueue(0)
    insert = bare_insert(driver)
    for act in (driver.enqueue, insert):
        seconds(50, act)
    calls, bare = [], []
    for _ in range(max(1, driver.order.tasks // SLICE)):
        calls.append(seconds(SLICE, driver.enqueue))
        bare.append(seconds(SLICE, insert))
    return {
        "rate": SLICE / statistics.median(calls),
        "bare_rate": SLICE / statistics.median(bare),
        "ratio": statistics.median(b / c for b, c in zip(bare, calls, strict=True)),
    }


def bulk_beside_copy(driver: Driver) -> dict[str, Any]:
    """Measure rows a second by one call for many, by a COPY of the same rows and by single calls."""
    driver.connect()
    count = driver.order.tasks
    driver.enqueue(0)
    columns, _ = _columns(driver)
    calls, copies = [], []
    for _ in range(TURNS):
        empty()
        calls.append(seconds(1, lambda _: driver.enqueue_many(count)))
        copy = _bare_copy(columns, driver.sql.rows(f"SELECT {', '.join(columns)} FROM autotask_task"))
        empty()
        copies.append(seconds(1, copy))
    single = seconds(SLICE, driver.enqueue) / SLICE
    return {
        "rate": count / statistics.median(calls),
        "copy_rate": count / statistics.median(copies),
        "copy_ratio": statistics.median(copy / call for copy, call in zip(copies, calls, strict=True)),
        "single_ratio": single / (statistics.median(calls) / count),
    }


def _columns(driver: Driver) -> tuple[list[str], Row]:
    """Return the columns that a call writes, and their values: those without a default that are not null."""
    without_default = driver.sql.rows(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_name = 'autotask_task' AND column_default IS NULL ORDER BY ordinal_position"
    )
    names = [name for (name,) in without_default]
    (row,) = driver.sql.rows(f"SELECT {', '.join(names)} FROM autotask_task LIMIT 1")
    written = {name: value for name, value in zip(names, row, strict=True) if value is not None}
    return list(written), tuple(written.values())


def bare_insert(driver: Driver) -> Callable[[int], object]:
    """Return a function that inserts a row like the one in the table, with its own commit."""
    columns, row = _columns(driver)
    # As autotask does: moments are those of the server.
    values = ", ".join("clock_timestamp()" if name.endswith("_at") else "%s" for name in columns)
    statement = f"INSERT INTO autotask_task ({', '.join(columns)}) VALUES ({values})"
    fixed = [value for name, value in zip(columns, row, strict=True) if name != "id" and not name.endswith("_at")]

    def insert(number: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, [new_id(), *fixed])

    assert columns[0] == "id"
    return insert


def _bare_copy(columns: list[str], rows: list[Row]) -> Callable[[int], object]:
    statement = f"COPY autotask_task ({', '.join(columns)}) FROM STDIN"

    def copy(number: int) -> None:
        with connection.cursor() as cursor:
            if is_psycopg3:
                with cursor.copy(statement) as into:
                    for row in rows:
                        into.write_row(row)
            else:
                text = "".join("\t".join(map(_as_text, row)) + "\n" for row in rows)
                cursor.copy_expert(statement, io.StringIO(text))

    return copy


def _as_text(value: Any) -> str:
    if isinstance(value, memoryview):
        return "\\\\x" + value.hex()
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def empty() -> None:
    """Delete all tasks."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE autotask_task, autotask_ready")


def seconds(count: int, act: Callable[[int], object]) -> float:
    """Return how long it takes to act so many times."""
    began = time.perf_counter()
    for number in range(count):
        act(number)
    return time.perf_counter() - began
