"""The log of a task on its page: the last lines from the database and from its file on this host, and all of them as a file."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, StreamingHttpResponse

from autotask import logs
from autotask.admin.acting import ActingAdmin
from autotask.store import task_logs
from autotask.store.connection import current


def context(id: uuid.UUID) -> dict[str, Any]:
    """Return the part of a task's log that its page shows."""
    # One character more than is shown, to know whether there are more; each has four bytes at most.
    lines = task_logs.last_lines(current(), id, 4 * logs.PAGE + 1)
    shown = lines[-logs.PAGE :]
    if len(shown) < len(lines):
        shown = shown.partition("\n")[2]
    return {"lines": shown, "lines_are_all": len(shown) == len(lines), **_of_file(id)}


def download(admin: ActingAdmin, request: HttpRequest, object_id: str) -> StreamingHttpResponse:
    """Send all lines of a task as a file, while they are read.

    :raises PermissionDenied: the user may not see the task.
    :raises Http404: there is no such task.
    """
    record = admin.get_object(request, object_id)
    if not admin.has_view_permission(request, record):
        raise PermissionDenied
    if record is None:
        raise Http404
    response = StreamingHttpResponse(_pieces(request, record.id), content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{record.id}.log"'
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _pieces(request: HttpRequest, id: uuid.UUID) -> Iterator[str] | AsyncIterator[str]:
    pieces = task_logs.each_piece(current(), id)
    # An asynchronous server would read all pieces first, and complain of it.
    return _awaited(pieces) if isinstance(request, ASGIRequest) else pieces


async def _awaited(pieces: Iterator[str]) -> AsyncIterator[str]:
    while (piece := await sync_to_async(lambda: next(pieces, None))()) is not None:
        yield piece


def _of_file(id: uuid.UUID) -> dict[str, Any]:
    try:
        return {"log": logs.read(id)}
    except OSError as error:  # The files may belong to another user.
        return {"log_problem": error.strerror}
