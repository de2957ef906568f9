"""The addresses of the demo."""

from django.urls import include, path

from demo import views

urlpatterns = [
    path("", views.index, name="index"),
    path("enqueue/<name>/", views.enqueue, name="enqueue"),
    path("tasks/<uuid:id>/", views.task, name="task"),
    path("tasks/<uuid:id>/cancel/", views.cancel, name="cancel"),
    path("charts/<name>", views.chart, name="chart"),
    path("api/", include("autotask.api.urls")),
    path("progress/", include("autotask.api.progress")),
]
