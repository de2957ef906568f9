"""``discard``: delete failed or cancelled tasks that somebody has dealt with."""

import uuid
from collections.abc import Sequence

from autotask.acts import tasks
from autotask.management.console import Console, failure
from autotask.management.lookup import add_ids, for_each_task
from autotask.management.subcommand import Subcommand
from autotask.task import State


def run(console: Console, *, ids: Sequence[str]) -> None:
    """Discard each of the tasks."""
    for_each_task(console, ids, _discard)


def _discard(id: uuid.UUID) -> str:
    [answer] = tasks.discard([id])
    if answer.refused is None:
        return f"{id} is discarded"
    reason = answer.refused.status if isinstance(answer.refused, State) else answer.refused.value
    raise failure(f"{id} was not discarded: it is {reason}")


SUBCOMMAND = Subcommand(
    name="discard",
    help="Delete failed or cancelled tasks.",
    description="Delete failed or cancelled tasks, with their arguments, attempts and logs. They cannot be retried afterwards.",
    examples=(
        ("discard 01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e", "one task"),
        ("list --state error --json | jq -r '.tasks[].id' | xargs python manage.py autotask discard", "the newest 20"),
    ),
    add_arguments=add_ids,
    run=run,
)
