"""The task that sends the messages of incidents, again and again until all are out."""

from autotask import decorating
from autotask.conf import settings
from autotask.context import TaskContext
from autotask.control import Retry
from autotask.delayed import DelayedTask
from autotask.notifications.alerts import sending
from autotask.options import Options
from autotask.task import MAX_PRIORITY

#: Seconds until the second try; each further wait is twice as long, up to the longest.
FIRST_WAIT = 5.0
LONGEST_WAIT = 600.0

#: Seconds that one attempt may take.
TIMEOUT = 1800.0


def _deliver(context: TaskContext) -> None:
    """Send what is due.

    :raises Retry: some could not be sent yet.
    """
    if problems := sending.send_all():
        wait = min(FIRST_WAIT * 2.0 ** min(context.attempt - 1, 20), LONGEST_WAIT)
        raise Retry(wait, "; ".join(problems))


# One at a time; the name begins with that of this module, so that any worker finds it.
deliver: DelayedTask[[], None] = decorating.define(
    DelayedTask,
    _deliver,
    f"{__name__}.deliver",
    Options.of(__name__, takes_context=True, unique=True, priority=MAX_PRIORITY, timeout=TIMEOUT),
    __name__,
)


def begin(queue: str) -> None:
    """Enqueue it, unless it is live already."""
    deliver.using(queue=queue, retries=settings.MAIL_TRIES).enqueue()
