"""The addresses, where both packages have them."""

from django.conf import settings
from django.urls import include, path

where = "autotask.api.simpletask2" if settings.PACKAGE == "autotask" else "django_simpletask2.urls"
urlpatterns = [
    path("", include("benchmarks.pulling.site.bare"))
    if settings.PACKAGE == "bare"
    else path("django-simpletask2/", include(where))
]
