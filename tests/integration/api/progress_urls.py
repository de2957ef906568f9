"""The addresses of progress bars, and a page that has one."""

from django.http import HttpResponse
from django.template import Context, Template
from django.urls import include, path

PAGE = Template("{% load autotask %}{% autotask_progress task label='Report' reload=True %}")


def page(request, id):
    return HttpResponse(PAGE.render(Context({"request": request, "task": id})))


urlpatterns = [
    path("progress/", include("autotask.api.progress")),
    path("page/<uuid:id>/", page),
]
