"""The models: those of the documentation of django-simpletask2, and some that fail, wait or count."""

import base64
import os
import time

from django.db import models

from autotask.model_tasks import SimpleTask


class Line(models.Model):
    """A line that a step has written."""

    text = models.TextField()


class HelloTask(SimpleTask):
    """One step."""

    name = models.CharField(max_length=64)

    remote = True

    def do_task_main(self, payload):
        Line.objects.create(text=f"hello {self.pk}")
        return f"Hello, {self.name}. Nice to meet you!"


class WorldTask(SimpleTask):
    """Two steps, with a request in between."""

    url = models.CharField(max_length=128)
    content = models.TextField(null=True, blank=True)

    remote = True
    is_multi_steps = True
    final_step = 2

    def do_task_main_step1(self, payload=None):
        return {"proxy": {"method": "GET", "url": self.url}}

    def do_task_main_step2(self, payload=None):
        payload = payload or {}
        encoded = payload.get("proxied_content", None)
        if not encoded:
            self.content = payload.get("proxied_error", None)
            self.save()
            raise RuntimeError("WorldTask.do_task_main_step2 failed....")
        self.content = base64.decodebytes(encoded.encode()).decode("utf-8")
        self.save()
        return True


class BoomTask(SimpleTask):
    """Fails."""

    remote = True

    def do_task_main(self, payload):
        raise ValueError("boom")


class ThreeTask(SimpleTask):
    """Three steps, whose second may take long or kill the worker; what each has done is in the lines."""

    returns = models.TextField(default="dict")
    act = models.TextField(default="")

    remote = True
    final_step = 3
    do_task_timeout = 2

    def do_task_main_step1(self, payload):
        return self.line(1)

    def do_task_main_step2(self, payload):
        value = self.line(2)
        if self.act == "kill once" and Line.objects.filter(text=f"three {self.pk} 2").count() == 1:
            os.kill(os.getpid(), 9)
        if self.act.startswith("sleep "):
            time.sleep(float(self.act.removeprefix("sleep ")))
        return value

    def do_task_main_step3(self, payload):
        return self.line(3)

    def line(self, number):
        """Write a line, and return what the row says."""
        Line.objects.create(text=f"three {self.pk} {number}")
        return {"dict": {"n": number}, "none": None, "str": "text", "list": [1]}[self.returns]


class NarrowTask(SimpleTask):
    """Two steps, of which one runs at a time, whatever row it is of."""

    remote = True
    final_step = 2
    options = {"concurrency": 1}

    def do_task_main_step1(self, payload):
        return self.line(1)

    def do_task_main_step2(self, payload):
        return self.line(2)

    def line(self, number):
        """Write a line at the beginning and at the end."""
        Line.objects.create(text=f"narrow {self.pk} {number} begins")
        time.sleep(0.02)
        Line.objects.create(text=f"narrow {self.pk} {number} ends")
