"""Pages that enqueue the demo's tasks and show them; the same addresses speak JSON with the demo and the tests."""

import json
import mimetypes
import uuid
from typing import Any

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from autotask.exceptions import TaskNotFound
from autotask.handle import TaskHandle
from autotask.models import TaskRecord
from demo import files, tasks
from demo.models import Inspection
from demo.samples import ROWS, SAMPLES

#: How many tasks the page lists.
NEWEST = 12


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show a button for each task, and the newest tasks."""
    rows = [(name, repr(value), Inspection.__doc__) for name, (_, value) in ROWS.items()]
    samples = [(name, ", ".join(map(repr, args)), getattr(tasks, name).__doc__) for name, args in SAMPLES.items()]
    newest = TaskRecord.objects.order_by("-id")[:NEWEST]
    return render(request, "demo/index.html", {"samples": [*samples, *rows], "newest": newest})


@require_POST
def enqueue(request: HttpRequest, name: str) -> HttpResponse:
    """Enqueue a task, and show its handle as it is right after the call; a browser is sent to the page of the task.

    A body of JSON may say more: ``{"args": ["Anna", "anna@example.org"], "using": {"delay": 60}}``,
    or ``{"many": [["page", "one"], ["page", "two"]]}`` for several calls at once.
    """
    speaks_json = request.content_type == "application/json"
    asked = json.loads(request.body) if speaks_json else {}
    if name in ROWS:
        field, value = ROWS[name]
        handle = Inspection.objects.create(**{field: asked.get("args", [value])[0]}).handle
        shown = {**_shown(handle), "created": True}
    elif name in SAMPLES:
        definition = getattr(tasks, name).using(**asked.get("using", {}))
        if "many" in asked:
            handles = definition.enqueue_many(map(tuple, asked["many"]))
            return JsonResponse({"handles": [_shown(handle) for handle in handles]})
        handle = definition(*asked.get("args", SAMPLES[name]))
        shown = _shown(handle)
    else:
        raise Http404(f"There is no task {name!r} here.")
    return JsonResponse(shown) if speaks_json else redirect("task", handle.id)


@require_GET
def task(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Show a task: a page for browsers, and its handle for others."""
    handle: TaskHandle[Any] = TaskHandle(id)
    if request.get_preferred_type(["application/json", "text/html"]) != "text/html":
        return JsonResponse(_shown(handle))
    record = TaskRecord.objects.filter(id=id).first()
    if record is None:
        return render(request, "demo/gone.html", {"handle": handle}, status=404)
    result = handle.result
    took = (record.ended_at - record.started_at).total_seconds() if record.ended_at and record.started_at else None
    shown = {"handle": handle, "record": record, "result": result, "error": handle.error_message, "took": took}
    return render(request, "demo/task.html", {**shown, "left": files.left_by(record, result)})


@require_POST
def cancel(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Cancel a task, and show its handle; a browser is sent to the page of the task."""
    handle: TaskHandle[Any] = TaskHandle(id)
    handle.cancel()
    return JsonResponse(_shown(handle)) if request.content_type == "application/json" else redirect("task", id)


@require_GET
def chart(request: HttpRequest, name: str) -> FileResponse:
    """Show a picture that a task has drawn."""
    path = settings.DEMO_OUTPUT / "charts" / name
    if path.parent != settings.DEMO_OUTPUT / "charts" or not path.is_file():
        raise Http404(f"There is no picture {name!r}.")
    return FileResponse(path.open("rb"), content_type=mimetypes.guess_type(name)[0])


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
