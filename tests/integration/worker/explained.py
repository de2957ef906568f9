"""Tasks that are put into situations, to be explained."""

import asyncio

from autotask.tasks import Limit, Snooze, delayed_task
from tests import gates

#: The queue of the worker that is there from the beginning, and that of none.
SERVED, UNSERVED = "explained", "explained_by_nobody"


def _act(how: str) -> str:
    if how == "fail":
        raise ValueError("as asked")
    if how == "snooze":
        raise Snooze(3600)
    if how.startswith("gate"):
        gates.wait_at(how)
    return how


@delayed_task(queue=SERVED, concurrency=Limit(1, key="key"), backoff=3600)
def plain(key: str, how: str) -> str:
    """Do as asked."""
    return _act(how)


@delayed_task(queue=SERVED, concurrency=Limit(1, key="key"), backoff=3600)
async def coroutine(key: str, how: str) -> str:
    """Do as asked, on an event loop."""
    return await asyncio.to_thread(_act, how)


@delayed_task(queue=SERVED)
def occupy(gate: str) -> None:
    """Take a thread until the gate is opened."""
    gates.wait_at(gate)
