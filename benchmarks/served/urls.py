"""The addresses of the site."""

import json

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from benchmarks.functions import nothing


def bare(request: HttpRequest) -> HttpResponse:
    """Make the same call as the API."""
    handle = nothing.enqueue(**json.loads(request.body)["params"])
    return JsonResponse({"id": str(handle.id)}, status=201)


urlpatterns = [path("bare/", bare), path("tasks/", include("autotask.api.urls"))]
