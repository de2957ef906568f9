"""The addresses of the tests of AsyncTask's view."""

from django.urls import path
from django.views.decorators.cache import never_cache

from autotask.class_tasks import AsyncTask
from tests.integration.class_tasks.async_tasks import Forecast, Impatient, InProcess, Limited


class Odd(AsyncTask):
    """Its results are no JSON."""

    def get_task_id(self, what):
        if what == "bad":
            raise ZeroDivisionError
        return "x" * 201 if what == "long" else what

    def main(self, what):
        return {"set": {1}, "nan": float("nan")}[what]


class Overridden(AsyncTask):
    """It has a state of its own."""

    def main(self, x): ...

    def retrieve(self, task_id):
        return {"status": "success", "result": f"mine: {task_id}"}


urlpatterns = [
    path("api/forecast", Forecast.as_view()),
    path("open/forecast", never_cache(Forecast.as_view(public=True))),
    path("open/impatient", Impatient.as_view(public=True)),
    path("open/process", InProcess.as_view(public=True)),
    path("open/limited", Limited.as_view(public=True)),
    path("open/odd", Odd.as_view(public=True)),
    path("open/overridden", Overridden.as_view(public=True)),
]
