"""The addresses of the HTTP API, for ``path("tasks/", include("autotask.api.urls"))``."""

from django.urls import path, re_path

from autotask.api import lists, openapi, views
from autotask.api.endpoint import Endpoint

app_name = "autotask_api"

urlpatterns = [
    path("", Endpoint(GET=lists.list_tasks, POST=views.submit_task), name="tasks"),
    path("definitions/", Endpoint(GET=lists.list_definitions), name="definitions"),
    path("openapi.json", Endpoint(GET=openapi.show), name="openapi"),
    path("<str:id>/", Endpoint(waits=True, GET=views.show_task), name="task"),
    # With and without a slash at the end: APPEND_SLASH cannot send a POST to another address.
    re_path(r"^(?P<id>[^/]+)/cancel/?$", Endpoint(POST=views.cancel_task), name="cancel"),
    re_path(r"^(?P<id>[^/]+)/retry/?$", Endpoint(POST=views.retry_task), name="retry"),
    re_path(r"^(?P<id>[^/]+)/discard/?$", Endpoint(POST=views.discard_task), name="discard"),
    re_path(r"^(?P<id>[^/]+)/result/?$", Endpoint(waits=True, GET=views.show_result), name="result"),
    re_path(r"^(?P<id>[^/]+)/reason/?$", Endpoint(GET=views.show_reason), name="reason"),
    re_path(r"^(?P<id>[^/]+)/logs/?$", Endpoint(GET=views.show_logs), name="logs"),
    re_path(r"", views.not_found),
]
