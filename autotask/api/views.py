"""The views of tasks: submit, look at, wait for, cancel, retry and discard them."""

import logging
import re
import uuid
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from autotask import logs, why
from autotask.acts import tasks as acts
from autotask.acts.answers import Answer, Refusal
from autotask.api import idempotency, waiting
from autotask.api.auth import Caller, demand
from autotask.api.body import read_object
from autotask.api.endpoint import Call
from autotask.api.exposed import is_exposed
from autotask.api.problems import Problem
from autotask.api.representation import as_hardworker, document, result_of
from autotask.api.responses import conditional, json_response
from autotask.api.submitting import Order, submit
from autotask.api.waiting import Pending
from autotask.conf import settings
from autotask.documents import stamp
from autotask.handle import TaskHandle
from autotask.store import read, task_logs
from autotask.store.connection import current
from autotask.store.read import StoredTask
from autotask.task import State, Status, enqueued_at, new_id

logger = logging.getLogger("autotask.api")

#: In bytes.
MOST_OF_LOG = 2**20

_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


def submit_task(call: Call) -> HttpResponse:
    """Submit a task."""
    order = Order.of(read_object(call.request))
    key = idempotency.key_of(call.request)
    handle = submit(call.caller, order, key)
    # A call that has made no task of its own gets the existing one. An idempotency key repeats the first answer.
    is_new = handle.created is not False or key is not None
    return json_response(
        _just_submitted(call, handle, order.name),
        201 if is_new else 200,
        {"Location": f"{call.request.path}{handle.id}/"},
    )


def show_task(call: Call, id: str) -> HttpResponse | Pending:
    """Look at a task; with ?wait=20, when it has finished, or after 20 seconds."""
    task = _task(call.caller, "read", id)
    return _pending(call, task) or conditional(call.request, json_response(_shown(call, task, in_full=True)))


def show_result(call: Call, id: str) -> HttpResponse | Pending:
    """Get the result of a task."""
    task = _task(call.caller, "read", id, _never_kept)
    return _pending(call, task) or _answer_result(task)


def _pending(call: Call, task: StoredTask) -> Pending | None:
    """Return the wait that is left for the caller."""
    seconds = waiting.seconds_of(call.request)
    return Pending(task.id, seconds) if seconds and not call.waited and not task.state.ended else None


def cancel_task(call: Call, id: str) -> HttpResponse:
    """Cancel a task: at once if it waits; if it runs, its worker stops it."""
    task = _task(call.caller, "cancel", id)
    [answer] = acts.cancel([task.id], by=call.caller.name)
    _refuse(answer, "not_cancellable")
    logger.info("%s cancelled %s %s", call.caller.name, task.name, task.id)
    return json_response(_shown(call, _again(task)), 202 if answer.is_asked else 200)


def retry_task(call: Call, id: str) -> HttpResponse:
    """Run a task again that failed or was cancelled."""
    task = _task(call.caller, "retry", id)
    [answer] = acts.retry([task.id])
    _refuse(answer, "not_retryable")
    logger.info("%s retried %s %s", call.caller.name, task.name, task.id)
    return json_response(_shown(call, _again(task)))


def discard_task(call: Call, id: str) -> HttpResponse:
    """Delete a task that failed or was cancelled."""
    task = _task(call.caller, "discard", id)
    [answer] = acts.discard([task.id])
    _refuse(answer, "not_discardable")
    logger.info("%s discarded %s %s", call.caller.name, task.name, task.id)
    return HttpResponse(status=204)


def show_reason(call: Call, id: str) -> HttpResponse:
    """Look at why a task does not run, or what it does; without hosts, people and other tasks."""
    task = _task(call.caller, "read", id, past=True)
    found = why.document(why.explain(current(), task.id, public=True))
    # Advice is for those who run the site.
    del found["advice"]
    return json_response(found, headers={"Cache-Control": "no-cache"})


def show_logs(call: Call, id: str) -> HttpResponse:
    """Get the last lines that a task has logged, from the database or else from its file here; with tracebacks."""
    task = _task(call.caller, "read", id, past=True)
    demand(call.caller, "traceback", task.name)
    text = task_logs.last_lines(current(), task.id, MOST_OF_LOG) or _in_file(task)
    if text is None:
        raise Problem(404, "no_logs")
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)


def _in_file(task: StoredTask) -> str | None:
    try:
        log = logs.read(task.id, MOST_OF_LOG)
    except OSError as error:
        logger.error("The log of %s %s cannot be read: %s", task.name, task.id, error)
        return None
    return None if log is None else log.text


@csrf_exempt
@login_not_required
def not_found(request: HttpRequest, **_: Any) -> HttpResponse:
    """Answer for an address below the API that does not exist."""
    return Problem(404, "not_found", "There is nothing at this address.").response()


# --- parts ----------------------------------------------------------------------------------------------------------


def _task(caller: Caller, action: str, text: str, gone: Any = None, *, past: bool = False) -> StoredTask:
    """Return the task with an id, if it is exposed and the caller may do this with it.

    :param gone: raises another problem than 404 for an id without a task.
    :param past: whether a task whose result is gone will do; otherwise it is a problem of its own.
    """
    demand(caller, action)
    if not _ID.fullmatch(text):
        raise Problem(404, "not_found", "This is not the id of a task.")
    id = uuid.UUID(text)
    task = read.task(current(), id) or (read.past(current(), id) if settings.HISTORY else None)
    if task is None and gone is not None:
        gone(id)
    if task is None or not is_exposed(task.name):
        raise Problem(404, "not_found", "There is no such task, or it is not kept any more.")
    demand(caller, action, task.name)
    if task.expired and not past:
        raise _expired(task)
    return task


def _expired(task: StoredTask) -> Problem:
    """Return the problem of a task whose result is gone: it says how it ended."""
    status, ended_at = task.state.status.value, stamp(task.ended_at)
    text = f"The task ended as {status}, {ended_at}. Its result is gone."
    return Problem(410, "expired", text, task_status=status, ended_at=ended_at)


def _never_kept(id: uuid.UUID) -> None:
    """Raise 410 for an id that this software may have given away: it holds the moment of the call."""
    if id.version == 7 and enqueued_at(id) <= enqueued_at(new_id()):
        raise Problem(410, "expired")


def _again(task: StoredTask) -> StoredTask:
    return read.task(current(), task.id) or task


def _answer_result(task: StoredTask) -> HttpResponse:
    if not task.state.ended:
        raise Problem(
            409, "not_finished", f"The task is {task.state.status.value}.", task_status=task.state.status.value
        )
    if task.state is not State.DONE:
        code = "failed" if task.state is State.ERROR else "cancelled"
        raise Problem(424, code, task.public_error, task_status=task.state.status.value)
    found = result_of(task)
    if "result_unreadable" in found:
        raise Problem(410, "expired", f"The result cannot be read any more: {found['result_unreadable']}")
    headers = {"Autotask-Result": "text"} if "result_is_text" in found else {}
    return json_response(found["result"], headers=headers)


def _shown(call: Call, task: StoredTask, *, in_full: bool = False) -> dict[str, Any]:
    """Return a task in the words that the caller wants, in full with the traceback if the caller may see it."""
    if call.request.GET.get("as") == "hardworker":
        return as_hardworker(task)
    shown = document(task, call.caller)
    if in_full and task.failures and call.caller.may("traceback", task.name):
        last = read.last_attempts(current(), task.id, 1)
        shown["traceback"] = last[0].traceback if last else None
    return shown


def _just_submitted(call: Call, handle: TaskHandle[Any], name: str) -> dict[str, Any]:
    """Return a task that was just submitted; a new one without reading it, which would cost as much as storing it."""
    if not handle.created or settings.IMMEDIATE or call.request.META.get("QUERY_STRING"):
        stored = read.task(current(), handle.id)
        if stored is not None:
            return _shown(call, stored)
    return {
        "id": str(handle.id),
        "name": name,
        "status": Status.WAITING.value,
        "result": None,
        "error": None,
        "progress": None,
        "created_at": stamp(enqueued_at(handle.id)),
    }


def _refuse(answer: Answer[uuid.UUID], code: str) -> None:
    """Raise the problem of an act that was not done."""
    if answer.refused is None:
        return
    if answer.refused is Refusal.GONE:
        raise Problem(404, "not_found", "There is no such task any more.")
    if answer.refused is Refusal.KEY_TAKEN:
        raise Problem(409, "already_enqueued")
    status = answer.refused.status.value if isinstance(answer.refused, State) else answer.refused.value
    raise Problem(409, code, f"The task is {status}.", task_status=status)
