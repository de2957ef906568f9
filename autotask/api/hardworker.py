"""HardWorker's one route, for ``path("hardworker/", include("autotask.api.hardworker"))``."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpResponse
from django.urls import path

from autotask.api.body import read_json
from autotask.api.endpoint import Call, Endpoint
from autotask.api.exposed import is_exposed
from autotask.api.problems import Problem
from autotask.api.responses import json_response
from autotask.api.submitting import Order, submit

app_name = "autotask_hardworker"

#: The codes of HardWorker. That of a missing field is a text there.
NO_EMAIL = 600
NO_TASK = 300
INVALID = 200
MISSING = "500"

#: The keys that a request needs, in the order in which they are checked.
FIELDS = ("name", "params", "email")


def submit_task(call: Call) -> HttpResponse:
    """Submit a task, as HardWorker answers it: always with 200, unless the body is not JSON or the caller is refused."""
    body = read_json(call.request)
    for field in FIELDS:
        if not isinstance(body, dict) or field not in body:
            return _error(MISSING, f"Field named {field} not found in your POST")
    if not _is_email(body["email"]):
        return _error(NO_EMAIL, "No valid email")
    if not isinstance(body["name"], str) or not is_exposed(body["name"]):
        return _error(NO_TASK, "No this type of task")
    try:
        handle = submit(call.caller, Order(body["name"], body["params"], {"email": body["email"]}))
    except Problem as problem:
        if problem.status != 422:
            raise
        return _error(INVALID, "Validate failed", problem.errors)
    return json_response({"status": "OK", "id": str(handle.id)})


def _is_email(value: Any) -> bool:
    try:
        validate_email(value)
    except (ValidationError, TypeError):
        return False
    return isinstance(value, str)


def _error(code: int | str, message: str, errors: Any = ()) -> HttpResponse:
    more = {"errors": list(errors)} if errors else {}
    return json_response({"status": "ERROR", "error_code": code, "error_msg": message, **more})


urlpatterns = [path("", Endpoint(POST=submit_task), name="submit")]
