"""Which process answers, a call of a task, and a page that takes too long."""

import json
import os
import time

from django.http import HttpRequest, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST


@require_GET
def index(request: HttpRequest) -> JsonResponse:
    """Tell which process this is."""
    return JsonResponse({"pid": os.getpid()})


@require_GET
def hang(request: HttpRequest) -> JsonResponse:
    """Take longer than any server lets it."""
    time.sleep(600)
    return JsonResponse({})


@csrf_exempt
@require_POST
def call(request: HttpRequest, name: str) -> JsonResponse:
    """Call a task function with the arguments in the body, and tell the id of the task."""
    handle = import_string(name)(*json.loads(request.body))
    return JsonResponse({"id": str(handle.id)})
