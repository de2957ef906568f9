"""The addresses of the site."""

import asyncio
import json

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from autotask.api import waiting
from benchmarks.functions import nothing


def bare(request: HttpRequest) -> HttpResponse:
    """Make the same call as the API."""
    handle = nothing.enqueue(**json.loads(request.body)["params"])
    return JsonResponse({"id": str(handle.id)}, status=201)


async def held(request: HttpRequest) -> HttpResponse:
    """Wait until the client goes away."""
    await asyncio.get_running_loop().create_future()
    return HttpResponse()


async def let_go(request: HttpRequest) -> HttpResponse:
    """Do so without the thread that Django keeps for the request."""
    waiting.let_thread_go()
    return await held(request)


urlpatterns = [
    path("bare/", bare),
    path("held/", held),
    path("let_go/", let_go),
    path("tasks/", include("autotask.api.urls")),
]
