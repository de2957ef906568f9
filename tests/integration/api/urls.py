"""The addresses of the tests of the API."""

from django.urls import include, path

urlpatterns = [
    path("tasks/", include("autotask.api.urls")),
    path("hardworker/", include("autotask.api.hardworker")),
    path("open/", include("autotask.api.urls", namespace="open"), {"public": True}),
]
