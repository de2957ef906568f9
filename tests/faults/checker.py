"""The checker compares the tables with the ledger, and names everything that breaks one of the first four invariants.

* I1: every acknowledged call ends with exactly one outcome, and nothing else is in the tables.
* I2: the stored outcome is that of the last claim, with the value that this attempt returned.
* I3: no task runs again without a reason: a retry, or a fault that touched its previous attempt.
* I4: nothing is left running.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autotask.task import State
from tests.faults.ledger import Event

#: Seconds that may lie between an event and its line in the ledger.
NEAR = 1.0


@dataclass(frozen=True)
class Row:
    """A task in the tables; *value* is the result of its attempt, by convention the fence."""

    id: str
    state: State
    fence: int | None
    lost: int
    value: object = None


@dataclass
class Verdict:
    """The result of a check.

    :ivar lost: acknowledged calls without an outcome.
    :ivar overwritten: stored outcomes that are not those of the last claim.
    :ivar unexcused: tasks that ran again without a reason.
    :ivar violations: all of these and other problems, in words.
    """

    calls: int = 0
    executions: int = 0
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)
    unexcused: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def check(events: Sequence[Event], rows: Iterable[Row], retried: Iterable[tuple[str, int]] = ()) -> Verdict:
    """Return all contradictions.

    :param rows: of both tables.
    :param retried: id and fence of failed attempts that were to be retried.
    """
    verdict = Verdict()
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_id[row.id].append(row)
    starts: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.kind == "start":
            starts[event.id].append(event)
    verdict.executions = sum(map(len, starts.values()))
    verdict.refused = sum(event.kind == "refused" for event in events)
    _one_outcome(verdict, events, by_id)
    for id, found in by_id.items():
        _last_claim(verdict, id, found[-1], starts[id])
    faults = [event for event in events if event.kind == "fault"]
    for id, attempts in starts.items():
        _reasons(verdict, id, attempts, faults, set(retried))
    return verdict


def _one_outcome(verdict: Verdict, events: Sequence[Event], by_id: dict[str, list[Row]]) -> None:
    acknowledged = {event.id for event in events if event.kind == "enqueued"}
    verdict.calls = len(acknowledged)
    for id in acknowledged:
        found = by_id.get(id, [])
        if len(found) == 1 and found[0].state.ended:
            continue
        verdict.lost.append(id)
        states = ", ".join(row.state.name for row in found) or "not in the database"
        verdict.violations.append(f"I1: {id} was acknowledged and is {states}")
    unknown = sum(event.kind == "unknown" for event in events)
    strangers = set(by_id) - acknowledged
    if len(strangers) > unknown:
        verdict.violations.append(f"I1: {len(strangers)} tasks that nobody enqueued, and {unknown} unclear calls")


def _last_claim(verdict: Verdict, id: str, row: Row, attempts: list[Event]) -> None:
    if row.state is State.RUNNING:
        verdict.violations.append(f"I4: {id} is still running")
    if row.fence is None or not row.state.ended:
        return
    last = max((attempt.fence for attempt in attempts), default=None)
    if last is not None and row.fence < last:
        verdict.overwritten.append(id)
        verdict.violations.append(f"I2: the outcome of {id} is of claim {row.fence}, the last one was {last}")
    elif row.state is State.DONE and row.value != row.fence:
        verdict.overwritten.append(id)
        verdict.violations.append(f"I2: {id} has the value of claim {row.value} and the fence of {row.fence}")


def _reasons(
    verdict: Verdict, id: str, attempts: list[Event], faults: list[Event], retried: set[tuple[str, int]]
) -> None:
    attempts = sorted(attempts, key=lambda attempt: attempt.fence)
    for attempt, following in zip(attempts, attempts[1:], strict=False):
        if attempt.fence == following.fence:
            verdict.unexcused.append(id)
            verdict.violations.append(f"I3: {id} was run twice under claim {attempt.fence}")
        elif (id, attempt.fence) not in retried and not any(_touches(f, attempt, following) for f in faults):
            verdict.unexcused.append(id)
            verdict.violations.append(
                f"I3: {id} was run again under claim {following.fence}, and nothing had happened to process "
                f"{attempt.pid} with claim {attempt.fence}"
            )


def _touches(fault: Event, attempt: Event, following: Event) -> bool:
    """Whether a fault came between an attempt and the next one, to its process or to all of them."""
    until = fault.at + float(fault.facts.get("seconds", 0.0))
    return fault.pid in (None, attempt.pid) and until >= attempt.at - NEAR and fault.at <= following.at + NEAR
