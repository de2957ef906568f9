"""The three addresses of django-simpletask2, for its unmodified client: ``include("autotask.api.simpletask2")``."""

from autotask.api.simpletask2.urls import urlpatterns

__all__ = ["urlpatterns"]
