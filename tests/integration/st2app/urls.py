"""The addresses of the tests."""

from django.urls import include, path

urlpatterns = [path("st2/", include("autotask.api.simpletask2"))]
