"""``retry``: run failed or cancelled tasks again."""

import uuid
from collections.abc import Sequence

from autotask.acts import tasks
from autotask.exceptions import NotRetryable
from autotask.management.console import Console, failure
from autotask.management.lookup import add_ids, for_each_task
from autotask.management.subcommand import Subcommand
from autotask.task import State


def run(console: Console, *, ids: Sequence[str]) -> None:
    """Retry each of the tasks."""
    for_each_task(console, ids, _retry)


def _retry(id: uuid.UUID) -> str:
    [answer] = tasks.retry([id])
    if answer.is_done:
        return f"{id} will run again"
    state = answer.refused
    reason = f"it is {state.status}" if isinstance(state, State) else "it is not in the database"
    raise failure(str(NotRetryable(id=id, reason=reason)))


SUBCOMMAND = Subcommand(
    name="retry",
    help="Run failed or cancelled tasks again.",
    description="Run failed or cancelled tasks again, at once and with all their retries.",
    examples=(
        ("retry 01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e", "one task"),
        ("list --state error --json | jq -r '.tasks[].id' | xargs python manage.py autotask retry", "the newest 20"),
    ),
    add_arguments=add_ids,
    run=run,
)
