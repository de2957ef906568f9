"""How PostgreSQL executes what a function of the store asks for: plans with the pages that were really read."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

#: Tables that may be of any size; the others have a row for each worker or schedule, or for each batch of tasks that runs.
LARGE = {"autotask_task", "autotask_ready", "autotask_result", "autotask_attempt"}

#: How statements begin that have a plan.
EXPLAINABLE = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "EXECUTE")

#: A sort of more rows than this is one of a table; of fewer, one of what was picked already.
FEW_ROWS = 1000

#: How often a statement is executed for its plan.
TIMES = 3

#: PostgreSQL compiles a statement that it expects to cost more, if jit is on: this may take seconds, whatever is found.
#: The default of jit_above_cost.
COMPILED_ABOVE = 100_000


@dataclass(frozen=True)
class Plan:
    """How one statement was executed.

    :ivar scans: what was scanned and how: "Index Scan autotask_ready_pkey".
    :ivar buffers: pages that were looked at, in memory or not.
    :ivar sorted: rows that went through the largest sort; 0 without one.
    :ivar discarded: rows that were read and did not fit, over all scans and joins.
    :ivar cost: what the planner expected, in its own units.
    """

    sql: str
    scans: frozenset[str]
    buffers: int
    sorted: int
    discarded: int
    cost: float

    @property
    def indexes(self) -> set[str]:
        """The indexes that were scanned."""
        return {scan.rpartition(" ")[2] for scan in self.scans if scan.startswith(("Index", "Bitmap Index"))}

    @property
    def walked(self) -> set[str]:
        """The large tables that were read from one end to the other."""
        return {scan.rpartition(" ")[2] for scan in self.scans if scan.startswith("Seq Scan")} & LARGE


@contextlib.contextmanager
def explained(connection: BaseDatabaseWrapper) -> Iterator[list[Plan]]:
    """Collect the plans of all statements that are executed on a connection.

    Each statement is executed four times: three times for its plan, which is undone, and then as it was meant. Whoever comes
    to a page at the right moment clears away dead entries, splits it or finds it full. So the plan counts that read least.
    """
    plans: list[Plan] = []

    def explain_first(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lstrip(" \n(").upper().startswith(EXPLAINABLE):
            plain, nested = context["cursor"].cursor, connection.in_atomic_block
            reports = []
            for _ in range(TIMES):
                plain.execute("SAVEPOINT explained" if nested else "BEGIN")
                try:
                    run(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params, many, context)
                    reports.append(plain.fetchone()[0])
                finally:
                    plain.execute("ROLLBACK TO SAVEPOINT explained" if nested else "ROLLBACK")
            plans.append(min((_plan(sql, report) for report in reports), key=lambda plan: plan.buffers))
        return run(sql, params, many, context)

    with connection.execute_wrapper(explain_first):
        yield plans


def assert_cheap(plans: list[Plan], *, index: str, buffers: int, avoids: str = "") -> None:
    """Assert that statements found what they wanted by indexes, without sorting a table, and read no more than so much.

    :param index: one that must have been used, others may have been; "" if there is nothing to look for.
    :param buffers: pages, for all statements together.
    :param avoids: an index that must not have been used.
    """
    assert plans, "no statement was executed"
    used = {""}.union(*(plan.indexes for plan in plans))
    assert not any(plan.walked for plan in plans), f"whole tables were read: {plans}"
    assert index in used, f"other indexes were used: {plans}"
    assert not avoids or avoids not in used, f"{avoids} was used: {plans}"
    assert max(plan.sorted for plan in plans) <= FEW_ROWS, f"a table was sorted: {plans}"
    assert sum(plan.buffers for plan in plans) <= buffers, f"more than {buffers} pages were read: {plans}"
    assert_not_compiled(plans)


def assert_not_compiled(plans: list[Plan], *, times: int = 1) -> None:
    """Assert that PostgreSQL would compile none of the statements, even if there were *times* as many rows."""
    assert max(plan.cost for plan in plans) * times <= COMPILED_ABOVE, f"PostgreSQL would compile a statement: {plans}"


def _plan(sql: str, report: Any) -> Plan:
    (found,) = json.loads(report) if isinstance(report, str) else report
    root = found["Plan"]
    nodes = list(_nodes(root))
    return Plan(
        sql=" ".join(sql.split())[:100],
        scans=frozenset(_scan(node) for node in nodes if "Scan" in node["Node Type"]),
        buffers=root["Shared Hit Blocks"] + root["Shared Read Blocks"],
        sorted=max(
            (_times(node["Plans"][0], "Actual Rows") for node in nodes if "Sort" in node["Node Type"]), default=0
        ),
        discarded=sum(
            _times(node, "Rows Removed by Filter") + _times(node, "Rows Removed by Join Filter") for node in nodes
        ),
        cost=root["Total Cost"],
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _scan(node: dict[str, Any]) -> str:
    return f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name') or ''}".strip()


def _times(node: dict[str, Any], what: str) -> int:
    return int(node.get(what, 0) * node["Actual Loops"])
