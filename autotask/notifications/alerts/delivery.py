"""The task that sends the messages of incidents that are due."""

from autotask import decorating
from autotask.delayed import DelayedTask
from autotask.notifications.alerts import sending
from autotask.options import Options
from autotask.task import MAX_PRIORITY

#: Seconds that one attempt may take.
TIMEOUT = 1800.0


# It never waits to be tried again: as there is one at a time, it would hold up the messages of other incidents meanwhile. The
# next look of a worker begins another one, as soon as something is due.
def _deliver() -> list[str]:
    """Send what is due, and return the problems."""
    return sending.send_all()


# The name begins with that of this module, so that any worker finds it.
deliver: DelayedTask[[], list[str]] = decorating.define(
    DelayedTask,
    _deliver,
    f"{__name__}.deliver",
    Options.of(__name__, unique=True, priority=MAX_PRIORITY, timeout=TIMEOUT),
    __name__,
)


def begin(queue: str) -> None:
    """Enqueue it, unless it is live already."""
    deliver.using(queue=queue).enqueue()
