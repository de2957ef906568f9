"""The OpenAPI 3.1 document of the API, made from the schemas of the tasks that a caller may submit."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpResponse
from django.urls import reverse

import autotask
from autotask.api import problems
from autotask.api.endpoint import Call
from autotask.api.exposed import AnyDefinition, all_exposed
from autotask.api.lists import MOST, USUAL
from autotask.api.responses import conditional, json_response
from autotask.on_end import MOST_ADDRESSES
from autotask.task import LONGEST_TIME, State, Status
from autotask.why import Code

Json = dict[str, Any]

#: Keywords whose values are values, not schemas.
_VALUES = ("const", "default", "enum", "examples")

_UUID: Json = {"type": "string", "format": "uuid"}
_MOMENT: Json = {"type": ["string", "null"], "format": "date-time"}
_ADDRESS: Json = {"type": "string", "format": "email"}
_NUMBER: Json = {"type": ["number", "null"]}
_TEXT: Json = {"type": ["string", "null"]}


def show(call: Call) -> HttpResponse:
    """Get this document."""
    names = "".join(f"{name}:" for name in call.request.resolver_match.namespaces)  # type: ignore[union-attr]  # it has matched
    own = [each for each in all_exposed() if call.caller.may("submit", each.name)]
    return conditional(call.request, json_response(document(own, reverse(f"{names}tasks"))))


def document(definitions: Iterable[AnyDefinition], address: str) -> Json:
    """Return the document.

    :param address: the path of the list of tasks, which ends in a slash.
    """
    own = list(definitions)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tasks", "version": autotask.__version__},
        "servers": [{"url": address.rstrip("/") or "/"}],
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Task": _task(with_result=True),
                "TaskOfList": _task(with_result=False),
                "Problem": _problem(),
                "Reason": _reason(),
                "Submission": {"oneOf": [_ref(_schema_name(each)) for each in own]} if own else {"not": {}},
                **{_schema_name(each): _submission(each) for each in own},
            },
        },
    }


# --- paths ----------------------------------------------------------------------------------------------------------


def _paths() -> Json:
    submitting = {
        **_operation("submit_task", "Submit a task.", _submitted(), (400, 409, 413, 415, 422)),
        "parameters": [_header("Idempotency-Key", {"type": "string", "pattern": "^[!-~]{1,255}$"})],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Submission")}}},
    }
    return {
        "/": {
            "get": _operation("list_tasks", "List tasks, newest first.", _listed(), parameters=_filters()),
            "post": submitting,
        },
        "/definitions/": {"get": _operation("list_definitions", "List the tasks that can be submitted.", _any())},
        "/openapi.json": {"get": _operation("show_openapi", "Get this document.", _any())},
        **{f"/{{id}}/{path}": _of_one(method, operation) for path, (method, operation) in _operations_on_one().items()},
    }


def _operations_on_one() -> dict[str, tuple[str, Json]]:
    """Return the operations on one task by the rest of their paths, each with its method."""
    wait = _query(
        "wait", {"type": "number", "minimum": 0}, "Seconds for which to hold the answer until the task has ended."
    )
    one = {"200": _json("The task.", _ref("Task"))}
    deleted = {"204": {"description": "It is deleted."}}
    reason = {"200": _json("The reason.", _ref("Reason"))}
    log = {"200": _content("The log.", "text/plain", {"type": "string"})}
    return {
        "": ("get", _operation("show_task", "Look at a task.", one, (400, 404, 410), [wait])),
        "cancel": (
            "post",
            _operation("cancel_task", "Cancel a task.", {**one, "202": one["200"]}, (404, 409, 410)),
        ),
        "retry": ("post", _operation("retry_task", "Run a task again.", one, (404, 409, 410))),
        "discard": (
            "post",
            _operation("discard_task", "Delete a task that failed or was cancelled.", deleted, (404, 409, 410)),
        ),
        "result": ("get", _operation("show_result", "Get the result.", _any(), (400, 404, 409, 410, 424), [wait])),
        "reason": ("get", _operation("show_reason", "See why it does not run.", reason, (404,))),
        "logs": ("get", _operation("show_logs", "Get the log.", log, (404,))),
    }


def _of_one(method: str, operation: Json) -> Json:
    return {"parameters": [{"name": "id", "in": "path", "required": True, "schema": _UUID}], method: operation}


def _operation(
    id: str, summary: str, answers: Json, refusals: Iterable[int] = (), parameters: Iterable[Json] = ()
) -> Json:
    problem = _content("A problem document.", "application/problem+json", _ref("Problem"))
    every = {str(status): problem for status in (401, 403, 429, 503, *refusals)}
    return {
        "operationId": id,
        "summary": summary,
        **({"parameters": list(parameters)} if parameters else {}),
        "responses": dict(sorted({**answers, **every}.items())),
    }


def _filters() -> list[Json]:
    return [
        _query(
            "status", {"type": "string", "enum": [status.value for status in Status]}, "Only tasks with this status."
        ),
        _query("name", {"type": "string"}, "Only tasks of this name."),
        _query(
            "tag", {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.:<>-]{0,199}$"}, "Only tasks with this tag."
        ),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}, "Tasks of a page."),
        _query("cursor", _UUID, "The value of next in the page before."),
    ]


def _listed() -> Json:
    properties = {
        "tasks": {"type": "array", "items": _ref("TaskOfList")},
        "next": {**_UUID, "type": ["string", "null"]},
    }
    schema = {"type": "object", "properties": properties, "required": ["tasks", "next"]}
    refusals = {"400": "A parameter does not fit.", "404": "No such task can be called."}
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    return {
        "200": _json("A page.", schema),
        **{status: {"description": text, "content": problem} for status, text in refusals.items()},
    }


def _submitted() -> Json:
    made = _json("The task.", _ref("Task"))
    # With these, tools can follow a task.
    made["links"] = {
        name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
        for name in (
            "show_task",
            "show_result",
            "show_reason",
            "show_logs",
            "cancel_task",
            "retry_task",
            "discard_task",
        )
    }
    made["headers"] = {"Location": {"schema": {"type": "string"}, "description": "The address of the task."}}
    again = {**made, "description": "The existing task with the same unique key."}
    return {"200": again, "201": made, "404": _content("No such task.", "application/problem+json", _ref("Problem"))}


def _any() -> Json:
    return {"200": _json("A value.", {})}


# --- schemas --------------------------------------------------------------------------------------------------------


def _submission(definition: AnyDefinition) -> Json:
    """Return the schema of a request for one task."""
    name = _schema_name(definition)
    params = _moved(definition.schema, f"#/components/schemas/{name}/properties/params")
    return {
        "type": "object",
        "title": definition.name,
        "properties": {
            "name": {"const": definition.name},
            "params": params,
            "email": {
                "anyOf": [_ADDRESS, {"type": "array", "maxItems": MOST_ADDRESSES, "items": _ADDRESS}, {"type": "null"}]
            },
            # null is the same as leaving it out.
            "delay": {"type": ["number", "null"], "minimum": 0, "maximum": LONGEST_TIME},
            "tags": {
                "type": ["array", "null"],
                "maxItems": 20,
                "items": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,200}$"},
            },
        },
        "required": ["name", "params"] if definition.schema.get("required") else ["name"],
        "additionalProperties": False,
    }


def _moved(schema: Any, to: str) -> Any:
    """Return a schema whose references to its own parts still lead there when it is inside another document."""
    if isinstance(schema, list):
        return [_moved(each, to) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {key: value if key in _VALUES else _moved(value, to) for key, value in schema.items() if key != "$schema"}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = to + reference[1:]
    return moved


def _schema_name(definition: AnyDefinition) -> str:
    return "Submit." + re.sub(r"[^A-Za-z0-9._-]", lambda found: f"_{ord(found[0]):x}_", definition.name)


def _task(*, with_result: bool) -> Json:
    progress = {"type": ["object", "null"], "properties": {"done": {"type": "number"}, "total": _NUMBER}}
    properties = {
        "id": _UUID,
        "name": {"type": "string"},
        "status": {"enum": [status.value for status in Status]},
        **({"result": {}} if with_result else {}),
        "error": _TEXT,
        "progress": progress,
        "state": {"enum": [state.name.lower() for state in State]},
        "queue": {"type": "string"},
        "priority": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "subject": _TEXT,
        "metadata": {"type": "object"},
        "arguments": {"type": "string"},
        "attempt": {"type": "integer"},
        "retries": {"type": "integer"},
        "cancel_requested": {"type": "boolean"},
        **{f"{name}_at": _MOMENT for name in ("created", "run", "started", "ended", "expires")},
        "kept_until": _MOMENT,
    }
    return {"type": "object", "properties": properties, "required": ["id", "name", "status"]}


def _reason() -> Json:
    check = {
        "type": "object",
        "properties": {"code": {"type": "string"}, "passed": {"type": "boolean"}, "text": {"type": "string"}},
    }
    properties = {
        "id": _UUID,
        "code": {"enum": [code.value for code in Code]},
        "sentence": {"type": "string"},
        "until": _MOMENT,
        "place": {"type": ["integer", "null"]},
        "expected_wait": {"type": ["number", "null"]},
        "checks": {"type": "array", "items": check},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _problem() -> Json:
    error = {"type": "object", "properties": {name: {"type": "string"} for name in ("path", "rule", "message")}}
    properties = {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"enum": list(problems.CODES)},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": error},
    }
    return {"type": "object", "properties": properties, "required": ["type", "title", "status", "code", "detail"]}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _header(name: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "schema": schema}


def _json(text: str, schema: Json) -> Json:
    return _content(text, "application/json", schema)


def _content(text: str, kind: str, schema: Json) -> Json:
    return {"description": text, "content": {kind: {"schema": schema}}}
