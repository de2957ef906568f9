"""The addresses of the site, and those of django-simpletask2."""

from django.urls import include, path

from tests.acceptance.app import urls

urlpatterns = [*urls.urlpatterns, path("django-simpletask2/", include("autotask.api.simpletask2"))]
