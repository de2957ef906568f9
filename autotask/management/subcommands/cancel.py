"""``cancel``: cancel waiting tasks, and ask running ones to stop."""

import uuid
from collections.abc import Sequence

from autotask.acts import tasks
from autotask.management.console import NOT_FOUND, Console, failure, operator
from autotask.management.lookup import add_ids, for_each_task
from autotask.management.subcommand import Subcommand
from autotask.task import State


def run(console: Console, *, ids: Sequence[str]) -> None:
    """Cancel each of the tasks."""
    for_each_task(console, ids, _cancel)


def _cancel(id: uuid.UUID) -> str:
    [answer] = tasks.cancel([id], by=operator())
    if answer.is_done:
        return f"{id} is cancelled"
    if answer.is_asked:
        return f"{id} is running; its worker was asked to stop it"
    if isinstance(answer.refused, State):
        raise failure(f"Task {id} cannot be cancelled: it has finished as {answer.refused.status}.")
    raise failure(f"Task {id} has just been pruned.", NOT_FOUND)


SUBCOMMAND = Subcommand(
    name="cancel",
    help="Cancel waiting tasks, and ask running ones to stop.",
    description="Cancel waiting tasks at once. The worker of a running task is asked to stop it; the task is cancelled "
    "when it has stopped.",
    examples=(("cancel 01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e", "one task"),),
    add_arguments=add_ids,
    run=run,
)
