"""The addresses of the app."""

from django.urls import include, path

from tests.acceptance.app import views

urlpatterns = [
    path("", views.index),
    path("hang/", views.hang),
    path("call/<name>/", views.call),
    path("tasks/", include("autotask.api.urls")),
]
