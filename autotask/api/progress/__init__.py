"""Live progress for the pages of a site, for ``path("progress/", include("autotask.api.progress"))``.

The template tag ``{% autotask_progress handle %}`` shows a bar, which follows the task at these addresses.
"""

from django.urls import path

from autotask.api.progress import views

app_name = "autotask_progress"

urlpatterns = [
    path("<str:token>/", views.show, name="show"),
    path("<str:token>/stream/", views.stream, name="stream"),
]
