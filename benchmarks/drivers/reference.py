"""The smallest honest queue that we could write: it does only the work that any durable queue on PostgreSQL has to do.

It inserts and commits, claims with SKIP LOCKED, finds a function by its name, calls it with the arguments, and records
durably that it has ended. There are no retries, leases, schedules, signatures, pools, priorities and no Django: the
cost of another queue beyond this is the price of its features, and of its code.
"""

import importlib
import json
import select
import time

from benchmarks import probe
from benchmarks.drivers.base import Driver
from benchmarks.sql import Connection

_TABLE = """
CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state smallint NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT now(),
    function text NOT NULL,
    arguments jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    started timestamptz,
    ended timestamptz,
    result jsonb
) WITH (fillfactor = 70);
CREATE INDEX queue_ready ON queue (due, id) WHERE state = 0;
"""
_TOLD = """
CREATE FUNCTION queue_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY queue; RETURN NULL; END $$;
CREATE TRIGGER queue_tell AFTER INSERT ON queue FOR EACH STATEMENT EXECUTE FUNCTION queue_tell();
"""

# The limit is part of the text: with a parameter the planner would have to guess.
_CLAIM = """
WITH picked AS MATERIALIZED (
    SELECT id FROM queue WHERE state = 0 AND due <= now() ORDER BY due, id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE queue q SET state = 1, started = clock_timestamp() FROM picked WHERE q.id = picked.id
RETURNING q.id, q.function, q.arguments::text
"""
_FINISH = """
UPDATE queue q SET state = 2, ended = clock_timestamp(), result = done.result
FROM unnest(%(ids)s::bigint[], %(results)s::jsonb[]) AS done(id, result) WHERE q.id = done.id AND q.state = 1
"""
_INSERT = "INSERT INTO queue (function, arguments) VALUES (%(function)s, %(arguments)s) RETURNING id"
_INSERT_MANY = """
INSERT INTO queue (function, arguments) SELECT %(function)s, unnest(%(arguments)s::jsonb[])
"""
_PREFILL = """
INSERT INTO queue (state, due, function, arguments)
SELECT %(state)s, now() + %(days)s * interval '1 day', %(function)s, jsonb_build_object('number', n)
FROM generate_series(1, %(count)s::int) AS n
"""

_NOTHING = "benchmarks.drivers.reference.nothing"


def nothing(number: int) -> int:
    """Only record that it has begun."""
    return probe.hit(number)


def work() -> None:
    """Claim a batch, call the functions one by one, record their ends, and repeat."""
    connection = Connection()
    connection.execute("LISTEN queue")
    while True:
        claimed = connection.rows(_CLAIM)
        if claimed:
            results = [_call(function, json.loads(arguments)) for _, function, arguments in claimed]
            connection.execute(_FINISH, {"ids": [row[0] for row in claimed], "results": results})
        else:
            select.select([connection.raw.fileno()], [], [], 5.0)


def _call(name: str, arguments: dict[str, int]) -> str:
    module, _, attribute = name.rpartition(".")
    return json.dumps(getattr(importlib.import_module(module), attribute)(**arguments))


class Reference(Driver):
    """The smallest honest queue."""

    unfinished = "SELECT EXISTS (SELECT 1 FROM queue WHERE state = 1)"

    def set_up(self) -> None:
        self.sql.execute(_TABLE)
        self.sql.execute(_TOLD)

    def connect(self) -> None:
        pass  # It is connected.

    def enqueue(self, number: int) -> int:
        row = {"function": _NOTHING, "arguments": json.dumps({"number": number})}
        return int(self.sql.value(_INSERT, row))

    def enqueue_many(self, count: int) -> None:
        arguments = [json.dumps({"number": number}) for number in range(count)]
        self.sql.execute(_INSERT_MANY, {"function": _NOTHING, "arguments": arguments})

    def round_trip(self, number: int) -> None:
        id = self.enqueue(number)
        while not self.sql.value("SELECT result::text FROM queue WHERE id = %(id)s AND state = 2", {"id": id}):
            time.sleep(0.001)

    def worker_command(self) -> list[str]:
        return ["-c", "from benchmarks.drivers.reference import work; work()"]

    def prefill(self, kind: str, count: int) -> None:
        state, days = (0, 30) if kind == "future" else (2, 0)
        self.sql.execute(_PREFILL, {"state": state, "days": days, "function": _NOTHING, "count": count})


DRIVER = Reference
