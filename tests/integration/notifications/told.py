"""What was told of the end of tasks, for tests."""

from autotask.notifications.delivery import deliver
from autotask.on_end import Notice, notices
from autotask.store import read
from autotask.store.connection import current, rows
from tests.helpers import wait_until


def told(handle) -> list[Notice]:
    """Return the notices of a task as they are now."""
    task = read.task(current(), handle.id)
    return notices(task.on_end, task.notices, task.state.status)


def settled(handle) -> list[Notice]:
    """Wait until all notices of a task are sent or given up, and return them."""
    wait_until(lambda: is_settled(handle), what=f"the notices of {handle}")
    return told(handle)


def is_settled(handle) -> bool:
    """Whether nobody is to be told of a task any more."""
    return read.task(current(), handle.id).settled_at is not None


def deliveries() -> list[tuple[int, int]]:
    """Return the states and attempts of all deliveries."""
    sql = "SELECT state, attempt FROM autotask_record WHERE name = %(name)s ORDER BY id"
    return rows(current(), sql, {"name": deliver.name})
