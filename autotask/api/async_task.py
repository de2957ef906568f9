"""The view of an AsyncTask: GET and POST at one address, with the envelope of the AsyncTask framework."""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from autotask.api.auth import demand, identify
from autotask.api.body import invalid, read_json, wrong
from autotask.api.endpoint import Call, Endpoint
from autotask.api.problems import Problem
from autotask.class_tasks import AsyncTask
from autotask.exceptions import PayloadTooLarge, SchemaMismatch, UnknownTaskId, UnsuitableKey
from autotask.store import read
from autotask.store.connection import current

logger = logging.getLogger("autotask.api")

#: The parameter, and the member of a body, with the id of a task.
ID = "task_id"


def view(task: type[AsyncTask], *, public: bool) -> "AsyncTaskView":
    """Return the view of a class.

    :param public: whether everybody may use it; otherwise it takes a key or a session.
    """
    return AsyncTaskView(task, public)


class AsyncTaskView(Endpoint):
    """Runs tasks of a class with POST, and shows them with GET."""

    def __init__(self, task: type[AsyncTask], public: bool) -> None:
        super().__init__(GET=self._show, POST=self._submit)
        self.__name__ = self.__qualname__ = f"{task.__name__}.as_view"
        self._task = task
        self._name = task._own_definition().name
        self._public = public

    def _begin(self, request: HttpRequest, inputs: dict[str, Any], waited: bool = False) -> HttpResponse:
        try:
            handler = self._methods.get(request.method or "")
            if handler is None:
                return self._refused(request)
            answer = handler(Call(request, identify(request, public=self._public)), **inputs)
            assert isinstance(answer, HttpResponse)
            return answer
        except Problem as problem:
            return _failure(problem)
        except (OperationalError, InterfaceError):
            logger.exception("%s %s: the database cannot be used", request.method, request.path)
            return _failure(Problem(503, "unavailable", headers={"Retry-After": "5"}))
        except Exception:  # of the methods of the class, and of those that pickle calls
            logger.exception("%s %s failed", request.method, request.path)
            return _answer(None, 500, "This request caused an error on the server.")

    def _refused(self, request: HttpRequest) -> HttpResponse:
        allowed = "GET, HEAD, POST, OPTIONS"
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": allowed})
        return _failure(
            Problem(405, "method_not_allowed", f"This address takes {allowed}.", headers={"Allow": allowed})
        )

    def _submit(self, call: Call, **_: Any) -> HttpResponse:
        """Run a task."""
        demand(call.caller, "submit", self._name)
        body = read_json(call.request)
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict):
            raise invalid([wrong("data", "type", "the body must be an object whose data is an object")])
        if not isinstance(data.get(ID, ""), str):
            raise invalid([wrong(ID, "type", "it must be a string")])
        try:
            return _answer({ID: self._task.run(**data)})
        except SchemaMismatch as error:
            raise invalid([dict(each) for each in error.errors]) from error
        except UnknownTaskId as error:
            raise Problem(404, "not_found", "There is no task with this id, or it is not kept any more.") from error
        except PayloadTooLarge as error:
            raise Problem(413, "too_large", str(error)) from error
        except UnsuitableKey as error:
            raise invalid([wrong("", "key", str(error))]) from error

    def _show(self, call: Call, **_: Any) -> HttpResponse:
        """Show a task."""
        demand(call.caller, "read", self._name)
        task_id = call.request.GET.get(ID)
        if task_id is None and call.request.body:
            body = read_json(call.request)
            task_id = body.get(ID) if isinstance(body, dict) else None
        if not isinstance(task_id, str) or not task_id:
            raise Problem(400, "bad_request", f"{ID} is missing.", errors=[wrong(ID, "required", "it is missing")])
        found = self._task().retrieve(task_id)
        if found is None:
            return _answer(None)
        if "error" in found:
            found = {**found, "error": self._error(call, task_id) or found["error"]}
        return _answer(_as_json(found))

    def _error(self, call: Call, task_id: str) -> str:
        handle = self._task.get_handle(task_id)
        if handle is None:
            return ""
        last = read.last_attempts(current(), handle.id, 1) if call.caller.may("traceback", self._name) else ()
        if last and last[0].traceback:
            return last[0].traceback
        task = read.task(current(), handle.id)
        return task.public_error if task else ""


def _as_json(found: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a task as JSON has it; a result that JSON cannot hold becomes its ``repr``."""
    try:
        shown: dict[str, Any] = json.loads(json.dumps(found, cls=DjangoJSONEncoder, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return {**found, "result": repr(found.get("result")), "result_is_text": True}
    return shown


def _failure(problem: Problem) -> HttpResponse:
    errors = [{"path": error["path"], "message": error["message"]} for error in problem.errors]
    return _answer(None, problem.status, problem.message, errors, problem.headers)


def _answer(
    data: Any,
    status: int = 200,
    error_msg: str = "",
    error_data: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Return a response with the envelope, whose members have this order."""
    envelope = {
        "status": "error" if status >= 400 else "ok",
        "data": data,
        "error_data": list(error_data),
        "error_msg": error_msg,
    }
    response = HttpResponse(json.dumps(envelope), status=status, content_type="application/json", headers=headers)
    response.headers["Cache-Control"] = "no-store"
    return response
