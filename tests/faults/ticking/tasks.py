"""A task that runs each second, or as often as the environment says."""

import os

from autotask.tasks import periodic_task
from tests.faults.witness import current


@periodic_task(seconds=float(os.environ.get("FAULTS_PERIOD", "1")), ttl=86400, name="faults.tick")
def tick() -> int:
    """Return the fence of the claim."""
    return current().fence
