"""The views that list: tasks page by page, and the definitions that a caller may use."""

import functools
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse

from autotask.api.auth import Caller, demand
from autotask.api.endpoint import Call
from autotask.api.exposed import AnyDefinition, all_exposed, names_for
from autotask.api.problems import Problem
from autotask.api.representation import as_hardworker, document
from autotask.api.responses import conditional, json_response
from autotask.flow.limits import Limit
from autotask.store import listing
from autotask.store.connection import current
from autotask.store.read import StoredTask
from autotask.task import State, Status
from autotask.values import PLAIN_NAME

#: Tasks of a page, at most and by default.
MOST = 200
USUAL = 50

#: The states for each ?status=.
STATES = {
    Status.WAITING: (State.SCHEDULED, State.READY, State.HELD),
    Status.RUNNING: (State.RUNNING,),
    Status.DONE: (State.DONE,),
    Status.ERROR: (State.ERROR,),
    Status.CANCELLED: (State.CANCELLED,),
}


def list_tasks(call: Call) -> HttpResponse:
    """List tasks, newest first."""
    query = call.request.GET
    limit = _limit(query.get("limit"))
    found = listing.page(
        current(),
        names_for(call.caller, "read", query.get("name", "")),
        states=_states(query.getlist("status")),
        tag=_tag(query.get("tag")),
        before=_cursor(query.get("cursor")),
        limit=limit + 1,
    )
    shown, cursor = found[:limit], str(found[limit - 1].id) if len(found) > limit else None
    show = as_hardworker if query.get("as") == "hardworker" else functools.partial(_without_result, call.caller)
    response = json_response({"tasks": [show(task) for task in shown], "next": cursor})
    if cursor is not None:
        response.headers["Link"] = f'<{_address(call.request, cursor)}>; rel="next"'
    return response


def list_definitions(call: Call) -> HttpResponse:
    """List the tasks that the caller may submit, with the schemas of their parameters."""
    demand(call.caller, "submit")
    found = [each for each in all_exposed() if call.caller.may("submit", each.name)]
    return conditional(call.request, json_response({"definitions": [_definition(each) for each in found]}))


def _definition(definition: AnyDefinition) -> dict[str, Any]:
    options, function = definition.options, definition.function
    limit = options.concurrency
    return {
        "name": definition.name,
        "description": (function.__doc__ or "").strip().split("\n\n")[0],
        "schema": definition.schema,
        "queue": options.queue,
        "retries": options.retries,
        "timeout": options.timeout,
        "concurrency": None if limit is None else _limit_document(limit),
        "rate": None if options.rate is None else options.rate.rate,
    }


def _limit_document(limit: Limit) -> dict[str, Any]:
    return {name: getattr(limit, name) for name in ("name", "most") if getattr(limit, name, None) is not None}


def _without_result(caller: Caller, task: StoredTask) -> dict[str, Any]:
    return document(task, caller, with_result=False)


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST):
        raise Problem(400, "bad_request", f"limit must be a whole number from 1 to {MOST}.")
    return int(text)


def _states(texts: Iterable[str]) -> list[State]:
    words = [word for text in texts for word in text.split(",") if word]
    for word in words:
        if word not in STATES:
            raise Problem(400, "bad_request", f"status must be one of {', '.join(STATES)}.")
    return [state for word in words for state in STATES[Status(word)]]


def _tag(text: str | None) -> str | None:
    if text is not None and not PLAIN_NAME.fullmatch(text):
        raise Problem(400, "bad_request", "tag must be a name of letters, digits and _ . : < > -")
    return text


def _cursor(text: str | None) -> uuid.UUID | None:
    if text is None:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Problem(400, "bad_request", "cursor must be the value of next in an earlier answer.") from None


def _address(request: HttpRequest, cursor: str) -> str:
    query = request.GET.copy()
    query["cursor"] = cursor
    return f"{request.path}?{urlencode(list(query.lists()), doseq=True)}"
