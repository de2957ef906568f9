"""How most queues limit tasks: each task counts the running ones of its key before it begins.

The threads of a worker claim one task each, record the attempt, take an advisory lock on the key, look whether the task is
among the first that run, and put it back for a moment if it is not. So does GoodJob with its cheapest way to claim; this
needs fewer statements for the same rows. The configuration "least" does not even record attempts.
"""

import json
import threading
import time

from benchmarks import probe
from benchmarks.drivers.base import Driver
from benchmarks.sql import Connection

_TABLE = """
CREATE TABLE counted (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state smallint NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT now(),
    key text NOT NULL,
    arguments jsonb NOT NULL,
    started timestamptz,
    ended timestamptz
) WITH (fillfactor = 70);
CREATE TABLE attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task bigint NOT NULL,
    arguments jsonb NOT NULL,
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended timestamptz
) WITH (fillfactor = 70);
CREATE INDEX attempt_task ON attempt (task);
CREATE INDEX counted_ready ON counted (due, id) WHERE state = 0;
CREATE INDEX counted_running ON counted (key) WHERE state = 1;
"""
_INSERT = "INSERT INTO counted (key, arguments) SELECT 'five_at_once', unnest(%(arguments)s::jsonb[])"
_CLAIM = """
UPDATE counted SET state = 1, started = clock_timestamp() WHERE id = (
    SELECT id FROM counted WHERE state = 0 AND due <= now() ORDER BY due, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
) RETURNING id, key, arguments::text
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext(%(key)s))"
_COUNT = """
SELECT %(id)s IN (SELECT id FROM counted WHERE state = 1 AND key = %(key)s ORDER BY started, id LIMIT %(most)s)
"""
_BEGIN = """
WITH task AS (UPDATE counted SET started = clock_timestamp() WHERE id = %(id)s RETURNING id, arguments)
INSERT INTO attempt (task, arguments) SELECT id, arguments FROM task
"""
_END = "UPDATE attempt SET ended = clock_timestamp() WHERE task = %(id)s AND ended IS NULL"
_FINISH = "UPDATE counted SET state = 2, ended = clock_timestamp() WHERE id = %(id)s"
_FINISH_BOTH = f"WITH ended AS ({_END}) {_FINISH}"
_PUT_BACK = f"WITH ended AS ({_END}) UPDATE counted SET state = 0, due = now() + interval '1 s' WHERE id = %(id)s"

#: Tasks of the key that may run at a time.
_MOST = 5


def work(config: str, threads: int) -> None:
    """Run tasks in threads, until the process is ended."""
    for _ in range(threads):
        threading.Thread(target=_run_tasks, args=[config == "default"]).start()


def _run_tasks(attempts: bool) -> None:
    connection = Connection()
    while True:
        for id, key, arguments in (claimed := connection.rows(_CLAIM)):
            if attempts:
                connection.execute(_BEGIN, {"id": id})
            if _is_admitted(connection, id, key):
                probe.hit(**json.loads(arguments))
                connection.execute(_FINISH_BOTH if attempts else _FINISH, {"id": id})
            else:
                connection.execute(_PUT_BACK, {"id": id})
        if not claimed:
            time.sleep(0.1)


def _is_admitted(connection: Connection, id: int, key: str) -> bool:
    connection.execute("BEGIN")
    connection.execute(_LOCK, {"key": key})
    admitted = connection.value(_COUNT, {"id": id, "key": key, "most": _MOST})
    connection.execute("ROLLBACK")
    return bool(admitted)


class Counting(Driver):
    """A queue whose tasks count the running ones."""

    unfinished = "SELECT EXISTS (SELECT 1 FROM counted WHERE state = 1)"

    def set_up(self) -> None:
        self.sql.execute(_TABLE)

    def connect(self) -> None:
        pass  # It is connected.

    def enqueue(self, number: int) -> object:
        return self.sql.execute(_INSERT, {"arguments": [json.dumps({"number": number})]})

    def enqueue_many(self, count: int) -> None:
        self.sql.execute(_INSERT, {"arguments": [json.dumps({"number": number}) for number in range(count)]})

    def worker_command(self) -> list[str]:
        threads = self.order.threads or _MOST
        return ["-c", f"from benchmarks.drivers.counting import work; work({self.config!r}, {threads})"]

    def prefill(self, kind: str, count: int) -> None:
        raise NotImplementedError("it is measured on empty tables only")


DRIVER = Counting
