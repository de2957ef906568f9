"""Acts on the row of a model task: start it again, run it now, mark it as done."""

from typing import TYPE_CHECKING, Any

from django.db import connections, models, router
from django.utils import timezone

from autotask.exceptions import RowBusy
from autotask.store import begin_step, find, notify
from autotask.store.cancel import Cancellation, cancel
from autotask.store.connection import current, in_transaction
from autotask.task import State

if TYPE_CHECKING:
    from autotask.model_tasks.base import SimpleTask

#: The fields of a row that these acts change.
_CHANGED = ("task_id", "current_step", "step_times", "done_time", "success", "result", "error_message", "mod_time")


def start_again(row: "SimpleTask") -> None:
    """Give a row a new task, which begins at step 1; see :meth:`autotask.model_tasks.SimpleTask.start_again`."""
    using = database_to_write(row)

    def begin() -> None:
        fresh = _stopped(row, using)
        fresh.done_time, fresh.task_id = None, None
        fresh.begin()
        _store(fresh, row, using)
        row.task_definition.enqueue_rows([fresh], using)

    in_transaction(connections[using], begin)


def run_now(row: "SimpleTask") -> bool:
    """Make the task of a row ready for workers; see :meth:`autotask.model_tasks.SimpleTask.run_now`."""
    connection = current()
    if row.task_id is None or not begin_step.start(connection, row.task_id, row.task_definition.executor):
        return False
    notify.wake_after_commit(connection)
    return True


def mark_done(row: "SimpleTask") -> None:
    """End a row; see :meth:`autotask.model_tasks.SimpleTask.mark_done`."""
    using = database_to_write(row)

    def end() -> None:
        fresh = _stopped(row, using)
        fresh.done_time, fresh.success, fresh.result, fresh.error_message = timezone.now(), None, None, ""
        _store(fresh, row, using)

    in_transaction(connections[using], end)


def database_to_write(row: "SimpleTask") -> str:
    """Return the alias of the database in which a row is changed: not that of a replica from which it was read."""
    return router.db_for_write(type(row), instance=row)


def _stopped(row: "SimpleTask", using: str) -> Any:
    """Lock a row, cancel its task if that waits, and return the row as it is now.

    :raises RowBusy: its task runs.
    """
    fresh = type(row)._base_manager.using(using).select_for_update(of=("self",)).get(pk=row.pk)
    if fresh.task_id is not None:
        connection = current()
        is_running = find.states(connection, [fresh.task_id]).get(fresh.task_id) is State.RUNNING
        if is_running or cancel(connection, fresh.task_id) is Cancellation.REQUESTED:
            raise RowBusy(row=fresh.task_info)
        fresh.refresh_from_db(using=using)
    return fresh


def _store(fresh: Any, row: Any, using: str) -> None:
    models.Model.save(fresh, using=using, update_fields=_CHANGED)
    for name in _CHANGED:
        setattr(row, name, getattr(fresh, name))
