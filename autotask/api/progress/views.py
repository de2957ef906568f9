"""The progress of one task: as JSON, and as a stream of events on an event loop."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.handlers.asgi import ASGIRequest
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from autotask import listener
from autotask.api.problems import Problem
from autotask.api.progress.showing import shown
from autotask.api.progress.tokens import task_of
from autotask.api.responses import json_response
from autotask.api.waiting import let_thread_go
from autotask.conf import settings
from autotask.store.connection import current
from autotask.store.progress import Seen, seen

#: Seconds without an event after which a comment is sent, so that proxies do not close the connection.
QUIET = 15.0

#: Milliseconds after which a browser opens the stream again when it has ended.
AGAIN = 1000

NOT_OURS = Problem(404, "not_found", "This address was not made by this site: its signature does not fit.")
NOT_HERE = Problem(406, "bad_request", "There are streams only under ASGI; ask for the address without stream/.")


@login_not_required
@require_safe
def show(request: HttpRequest, token: str) -> HttpResponse:
    """Show how far a task has come."""
    id = task_of(token)
    if id is None:
        return NOT_OURS.response()
    try:
        return json_response(shown(seen(current(), [id]).get(id)))
    except (OperationalError, InterfaceError):
        return Problem(503, "unavailable", headers={"Retry-After": "5"}).response()


@login_not_required
@require_safe
async def stream(request: HttpRequest, token: str) -> HttpResponseBase:
    """Stream how far a task has come, as server-sent events.

    All streams of a process share one thread and one connection. A stream ends with the task, or after AUTOTASK_API_WAIT
    seconds, so that a server that stops need not wait for it longer; the browser then opens it again.
    """
    id = task_of(token)
    if id is None:
        return NOT_OURS.response()
    if not isinstance(request, ASGIRequest):
        return NOT_HERE.response()
    let_thread_go()
    headers = {
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",  # nginx would collect the events
        "Content-Encoding": "identity",  # so would GZipMiddleware
    }
    return StreamingHttpResponse(_events(id), content_type="text/event-stream", headers=headers)


async def _events(id: uuid.UUID) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    until = clock() + settings.API_WAIT
    ended = asyncio.ensure_future(listener.ended(id))
    known: Seen | object | None = listener.UNKNOWN
    try:
        yield f"retry: {AGAIN}\n\n"
        while (left := until - clock()) > 0:
            before, known = known, await _change(id, known, ended, min(QUIET, left))
            if known is before:
                yield ": nothing new\n\n"
            elif known is None or isinstance(known, Seen):
                yield f"data: {json.dumps(document := shown(known))}\n\n"
                if document["ended"]:
                    return
    except (OperationalError, InterfaceError):
        return  # The browser asks again.
    finally:
        ended.cancel()


async def _change(
    id: uuid.UUID, known: Seen | object | None, ended: asyncio.Future[listener.Ended], seconds: float
) -> Seen | object | None:
    """Wait until a task has made progress, and return it; after the given seconds, return what is known."""
    farther = asyncio.ensure_future(listener.farther(id, known))
    try:
        awaited: set[asyncio.Future[Any]] = {farther, ended}
        done, _ = await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ended in done:
            task = ended.result()
            return Seen(task.state, task.progress) if task else None
        return farther.result() if farther in done else known
    finally:
        farther.cancel()
