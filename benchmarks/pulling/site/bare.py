"""The site that answers from memory: what client, web server and Django take by themselves."""

import itertools
import json
import time

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

_numbers = itertools.count(1)
_moments: list[float] = []


@csrf_exempt
def get_a_task(request: HttpRequest) -> JsonResponse:
    """Offer a task, as if one were there always."""
    json.loads(request.body)
    return _answer(f"site.hellotask:{next(_numbers)}")


@csrf_exempt
def do_task(request: HttpRequest) -> JsonResponse:
    """Answer as if a step, the only one, had run."""
    body = json.loads(request.body)
    _moments.append(time.monotonic())
    return _answer({"continue_flag": False, "task_info": body["task_info"], "next_step": 2, "data": "Hello."})


@csrf_exempt
def do_auto_reset(request: HttpRequest) -> JsonResponse:
    """Do nothing."""
    return _answer({})


def done(request: HttpRequest) -> JsonResponse:
    """Tell the measuring process how many tasks are done, and the seconds between the first and the last one."""
    return JsonResponse([len(_moments), _moments[-1] - _moments[0] if _moments else 0.0], safe=False)


def _answer(result: object) -> JsonResponse:
    return JsonResponse({"success": True, "result": result, "error": {"code": 0, "message": "OK"}})


urlpatterns = [
    path("django-simpletask2/get_a_task", get_a_task),
    path("django-simpletask2/do_task", do_task),
    path("django-simpletask2/do_auto_reset", do_auto_reset),
    path("done", done),
]
