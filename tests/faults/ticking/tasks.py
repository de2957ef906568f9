"""A task that runs each second, whatever else runs."""

from autotask.tasks import periodic_task
from tests.faults.witness import current


@periodic_task(seconds=1, overlap="allow", ttl=86400, name="faults.tick")
def tick() -> int:
    """Return the fence of the claim."""
    return current().fence
