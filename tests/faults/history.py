"""The history of executions under limits: how many of them overlapped while their claims were valid.

An execution counts from the start of its function to its end, or to the moment at which its claim was lost, if that came
first: when its worker is taken for dead, its task is rescued, and another one may have the slot. A worker that was stalled
may go on with such a function for a while; its outcome is refused like any other late one.

The start is noted after the claim, and so after the slot was taken; the end, before the outcome is recorded, and so before
the slot is free. Hence executions that overlap here did overlap.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autotask.flow import Flow, is_limit
from tests.faults.ledger import Event


@dataclass(frozen=True)
class Execution:
    """One execution whose claim was valid from *began* to *ended*, by the wall clock."""

    id: str
    fence: int
    began: float
    ended: float


@dataclass(frozen=True)
class Peak:
    """The most executions that one limit had at a time, and how many it may have."""

    gate: str
    most: int
    found: int


def executions(events: Iterable[Event], lost: Mapping[tuple[str, int], float]) -> list[Execution]:
    """Return all executions.

    :param lost: when claims were lost, by id and fence.
    """
    ends: dict[tuple[str, int], float] = {}
    starts: dict[tuple[str, int], float] = {}
    for event in events:
        if event.kind == "start":
            starts[event.id, event.fence] = event.wall
        elif event.kind == "end":
            ends[event.id, event.fence] = event.wall
    never = float("inf")
    return [
        Execution(*claim, began, max(began, min(ends.get(claim, never), lost.get(claim, never))))
        for claim, began in starts.items()
    ]


def peaks(executions: Sequence[Execution], flows: Mapping[str, Flow]) -> list[Peak]:
    """Return the peak of each limit, by the gates of the tasks."""
    changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
    most: dict[str, int] = {}
    for execution in executions:
        for gate in filter(is_limit, flows[execution.id].gates):
            changes[gate.key] += [(execution.began, 1), (execution.ended, -1)]
            most[gate.key] = gate.most
    return [Peak(gate, most[gate], _highest(found)) for gate, found in changes.items()]


def most_in_a_second(moments: Iterable[float]) -> int:
    """Return how many of the moments lie within one second at most."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def _highest(changes: list[tuple[float, int]]) -> int:
    # At the same moment, ends come before starts.
    running = highest = 0
    for _, change in sorted(changes):
        running += change
        highest = max(highest, running)
    return highest
