"""Count the pages that the server reads for a claim."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from django.db import connection, transaction

from autotask.store import claim
from autotask.store.claim import BoundedLane
from benchmarks.drivers.base import Driver
from benchmarks.drivers.workers import Workers

#: A queue without tasks: its worker is registered, and claims nothing.
_NOWHERE = "nowhere"


class _Explained(Exception):
    """Carries the plan of a statement instead of its answer."""


def claim_buffers(driver: Driver) -> dict[str, Any]:
    """Count the pages on the tables as they are: for a claim of ten tasks, and to find and lock a hundred."""
    driver.connect()
    driver.sql.settle()
    # Only a worker with a valid lease may claim.
    workers = Workers([sys.executable, *driver.worker_command(), "--queues", _NOWHERE], 1)
    try:
        while not (id := driver.sql.value("SELECT id FROM autotask_worker")):
            workers.check()
        ten = _explain_claim(id, 10)
        driver.sql.settle()
        hundred = _explain_claim(id, 100)
    finally:
        workers.stop()
    found = sum(_buffers(node) for node in _nodes(hundred) if node["Node Type"] == "LockRows")
    return {"claim": _buffers(ten), "find": found}


def _explain_claim(worker_id: Any, tasks: int) -> dict[str, Any]:
    lanes = claim.find_lanes(connection)[0]
    bounded = [BoundedLane(lane, None) for lane in lanes]
    try:
        # The exception with the plan undoes the transaction.
        with transaction.atomic(), connection.execute_wrapper(_explain):
            claim.claim(connection, worker_id, bounded, per_lane=tasks, limit=tasks)
    except _Explained as explained:
        plan: dict[str, Any] = explained.args[0]
        return plan
    raise AssertionError("the claim was not executed")


def _explain(execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> None:
    execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params, many, context)
    (report,) = context["cursor"].fetchone()
    (found,) = json.loads(report) if isinstance(report, str) else report
    raise _Explained(found["Plan"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _buffers(node: dict[str, Any]) -> int:
    """Return the pages of a node and its children."""
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])
