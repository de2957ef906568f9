"""The addresses, where both packages have them."""

from django.conf import settings
from django.urls import include, path

where = "autotask.api.simpletask2" if settings.PACKAGE == "autotask" else "django_simpletask2.urls"
urlpatterns = [path("django-simpletask2/", include(where))]
