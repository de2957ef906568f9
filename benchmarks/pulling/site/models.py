"""A task with one step and one with two, as both packages have them."""

from django.conf import settings
from django.db import models

if settings.PACKAGE == "autotask":
    from autotask.model_tasks import SimpleTask
elif settings.PACKAGE == "bare":
    SimpleTask = models.Model
else:
    from django_simpletask2.models import SimpleTask


class HelloTask(SimpleTask):
    """One step."""

    name = models.CharField(max_length=64)

    remote = True

    def do_task_main(self, payload):
        return f"Hello, {self.name}. Nice to meet you!"


class TwoTask(SimpleTask):
    """Two steps."""

    name = models.CharField(max_length=64)

    remote = True
    is_multi_steps = True
    final_step = 2

    def do_task_main_step1(self, payload=None):
        return {"name": self.name}

    def do_task_main_step2(self, payload=None):
        return True
