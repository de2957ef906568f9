"""A page that enqueues the demo's tasks, and handles as JSON."""

import json
import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from autotask.exceptions import TaskNotFound
from autotask.handle import TaskHandle
from demo import tasks
from demo.models import Inspection
from demo.samples import ROWS, SAMPLES


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show a button for each task."""
    rows = [(name, repr(value), Inspection.__doc__) for name, (_, value) in ROWS.items()]
    samples = [(name, ", ".join(map(repr, args)), getattr(tasks, name).__doc__) for name, args in SAMPLES.items()]
    return render(request, "demo/index.html", {"samples": [*samples, *rows]})


@require_POST
def enqueue(request: HttpRequest, name: str) -> JsonResponse:
    """Enqueue a task, and show its handle as it is right after the call.

    A body of JSON may say more: ``{"args": ["Anna", "anna@example.org"], "using": {"delay": 60}}``,
    or ``{"many": [["page", "one"], ["page", "two"]]}`` for several calls at once.
    """
    asked = json.loads(request.body) if request.content_type == "application/json" else {}
    if name in ROWS:
        field, value = ROWS[name]
        row = Inspection.objects.create(**{field: asked.get("args", [value])[0]})
        return JsonResponse({**_shown(row.handle), "created": True})
    if name not in SAMPLES:
        raise Http404(f"There is no task {name!r} here.")
    definition = getattr(tasks, name).using(**asked.get("using", {}))
    if "many" in asked:
        return JsonResponse(
            {"handles": [_shown(handle) for handle in definition.enqueue_many(map(tuple, asked["many"]))]}
        )
    return JsonResponse(_shown(definition(*asked.get("args", SAMPLES[name]))))


@require_GET
def task(request: HttpRequest, id: uuid.UUID) -> JsonResponse:
    """Show a handle as it is now."""
    return JsonResponse(_shown(TaskHandle(id)))


@require_POST
def cancel(request: HttpRequest, id: uuid.UUID) -> JsonResponse:
    """Cancel a task, and show its handle."""
    handle: TaskHandle[Any] = TaskHandle(id)
    handle.cancel()
    return JsonResponse(_shown(handle))


def _shown(handle: TaskHandle[Any]) -> dict[str, Any]:
    try:
        return {
            "id": str(handle.id),
            "created": handle.created,
            "status": handle.status,
            "ready": handle.ready,
            "result": handle.result,
            "error_message": handle.error_message,
            "attempts": handle.attempts,
            "url": reverse("task", args=[handle.id]),
        }
    except TaskNotFound as missing:
        raise Http404(str(missing)) from missing
