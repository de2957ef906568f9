"""The body of a request: JSON of a bounded size."""

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest

from autotask.api.problems import Problem
from autotask.conf import settings


def read_json(request: HttpRequest) -> Any:
    """Return the value in the body of a request.

    :raises Problem: 400 if it is not JSON, 413 if it is too large, 415 if it says that it is something else.
    """
    most = settings.API_MAX_BODY
    if _announced(request) > most:
        raise _too_large(most)
    try:
        body = request.body
    except RequestDataTooBig:  # Django's own limit is the smaller one
        raise _too_large(None) from None
    if len(body) > most:
        raise _too_large(most)
    if not body:
        raise Problem(400, "not_json", "There is no body.")
    if request.content_type != "application/json":
        raise Problem(415, "unsupported_media_type", headers={"Accept": "application/json"})
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "not_json", f"The body is not JSON: {_reason(error)}") from None


def read_object(request: HttpRequest) -> dict[str, Any]:
    """Return the object in the body of a request.

    :raises Problem: as for :func:`read_json`; 422 if it is another value.
    """
    value = read_json(request)
    if not isinstance(value, dict):
        raise invalid([wrong("", "type", "the body must be an object")])
    return value


def wrong(path: str, rule: str, message: str) -> dict[str, str]:
    """Return one of the errors of :func:`invalid`."""
    return {"path": path, "rule": rule, "message": message}


def invalid(errors: list[dict[str, str]]) -> Problem:
    """Return the problem of a request of the wrong shape."""
    first = errors[0]
    return Problem(
        422, "invalid", f"{first['path']}: {first['message']}" if first["path"] else first["message"], errors=errors
    )


def _announced(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _too_large(most: int | None) -> Problem:
    return Problem(
        413, "too_large", "The body is too large." if most is None else f"The body has more than {most} bytes."
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it contains {name}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
