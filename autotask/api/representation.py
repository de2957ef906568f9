"""A task as the HTTP API shows it, in our words or in those of HardWorker."""

import json
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.core.serializers.json import DjangoJSONEncoder

from autotask import payload
from autotask.api.auth import Caller
from autotask.documents import stamp, task_document
from autotask.on_end import NoticeState, notices
from autotask.store.read import StoredTask
from autotask.task import State, Status
from autotask.texts.lines import one_line

#: The attributes that a task shows besides its id, name, status, result, error and progress.
MORE = (
    *("state", "queue", "priority", "tags", "arguments", "attempt", "retries", "cancel_requested"),
    *("created_at", "run_at", "started_at", "ended_at", "expires_at", "kept_until"),
)

#: The attributes that a task shows to callers that may see its content.
ABOUT = ("subject", "metadata")

#: The numbers of HardWorker.
NUMBERS = {Status.WAITING: 0, Status.RUNNING: 1, Status.DONE: 2, Status.ERROR: 3, Status.CANCELLED: 3}


def document(task: StoredTask, caller: Caller, *, with_result: bool = True) -> dict[str, Any]:
    """Return the document of a task.

    :param caller: sees what the task is about if a scope says so.
    :param with_result: whether to unpickle the result.
    """
    full = task_document(task)
    shown = {"id": full["id"], "name": full["name"], "status": full["status"]}
    if with_result:
        shown |= result_of(task) if task.state is State.DONE else {"result": None}
    return shown | {
        "error": task.public_error or None,
        "progress": full["progress"],
        **{name: full[name] for name in MORE},
        **({name: full[name] for name in ABOUT} if caller.may("metadata", task.name) else {}),
    }


def result_of(task: StoredTask) -> dict[str, Any]:
    """Return the result of a task that is done, as JSON has it.

    If JSON cannot hold it, its ``repr`` and ``result_is_text``; if it cannot be read, None and ``result_unreadable``.
    """
    try:
        value = value_of(task)
    except SynchronousOnlyOperation:
        raise  # It holds model instances, which a thread has to fetch.
    except Exception as error:  # whatever unpickling raises: a class that is gone, an altered row, a deleted instance
        return {"result": None, "result_unreadable": one_line(f"{type(error).__name__}: {error}", 300)}
    try:
        return {"result": json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {"result": _text(value), "result_is_text": True}


def value_of(task: StoredTask) -> Any:
    """Return the value of the function of a task that is done.

    :raises PayloadRefused: it is not signed for this task with a key of this site.
    :raises Exception: whatever unpickling raises.
    """
    return payload.load_result(task.value, id=task.id, fence=task.fence or 0)


def as_hardworker(task: StoredTask) -> dict[str, Any]:
    """Return the fields that HardWorker has for a task."""
    result, path = _parts(task)
    mails = [notice for notice in notices(task.on_end, task.notices, task.state.status) if notice.webhook is None]
    return {
        "id": str(task.id),
        "type_of_task": task.name,
        "status": NUMBERS[task.state.status],
        "result": result,
        "email": ", ".join(notice.to for notice in mails) or None,
        "params": task.arguments,
        "time_start": stamp(task.started_at),
        "time_end": stamp(task.ended_at),
        "file_path": path,
        "mailed": bool(mails) and all(notice.state is NoticeState.SENT for notice in mails),
    }


def _parts(task: StoredTask) -> tuple[str | None, str | None]:
    """Return the text of the result or the error, and the path of the file."""
    if task.state is not State.DONE:
        return task.public_error or None, None
    try:
        value = value_of(task)
    except SynchronousOnlyOperation:
        raise
    except Exception as error:
        return one_line(f"{type(error).__name__}: {error}", 300), None
    if isinstance(value, dict) and set(value) == {"result", "file_path"}:
        return _text(value["result"], str), _text(value["file_path"], str)
    return _text(value, str), None


def _text(value: Any, how: Any = repr) -> str:
    try:
        return str(how(value)).encode("utf-8", "replace").decode()
    except Exception as error:  # what the method of a class raises
        return f"<{type(value).__name__}: {type(error).__name__}>"
