"""Models whose rows are tasks. Their tables are made by the tests that use them."""

import asyncio
import os
import signal
import time
import uuid
from typing import ClassVar

from django.db import models

from autotask.model_tasks import SimpleTask
from autotask.tasks import Limit, Rate
from tests import gates


class HelloTask(SimpleTask):
    """One step."""

    name = models.CharField(max_length=64)

    class Meta:
        app_label = "model_tasks"

    def do_task_main(self, payload):
        return f"Hello, {self.name}. Nice to meet you!"


class StepTask(SimpleTask):
    """Three steps; what each does is in a column, by the number of the step."""

    acts = models.JSONField(default=dict)
    lines = models.TextField(default="")
    region = models.TextField(default="default")

    final_step = 3
    channel_field = "region"
    options = {"retries": 1, "backoff": 0}

    class Meta:
        app_label = "model_tasks"

    def do_task_main_step1(self, payload):
        return self.act("1", payload)

    def do_task_main_step2(self, payload):
        return self.act("2", payload)

    def do_task_main_step3(self, payload):
        return self.act("3", payload)

    def act(self, number, payload):
        """Write a line, then do what the row says."""
        self.lines += f"{number} "
        self.save()
        time.sleep(self.acts.get("seconds", 0))
        act = self.acts.get(number)
        if act == "wait":
            gates.wait_at(f"step {number}")
        elif act == "spin":
            while True:
                pass
        elif act == "die once" and self.lines.count(f"{number} ") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "raise" or act == "fail once" and self.lines.count(f"{number} ") == 1:
            raise ValueError(f"step {number} went wrong")
        elif act == "object":
            return object()
        elif act == "half a character":
            return "\ud800"
        return {"number": number, "step": payload["step"]}


class BoxTask(SimpleTask):
    """With a key that it has before it is saved."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    class Meta:
        app_label = "model_tasks"

    def do_task_main(self, payload):
        return {"info": payload["task_info"]}


class WordTask(SimpleTask):
    """With a text as key."""

    text = models.CharField(max_length=20, primary_key=True)
    note = models.TextField(default="")

    class Meta:
        app_label = "model_tasks"

    def do_task_main(self, payload):
        return len(self.text)


class WorldTask(SimpleTask):
    """Two steps, with a request in between."""

    proxy = models.JSONField()
    content = models.TextField(default="")

    final_step = 2

    class Meta:
        app_label = "model_tasks"

    def do_task_main_step1(self, payload):
        return {"proxy": self.proxy}

    def do_task_main_step2(self, payload):
        self.content = payload["proxied_content"] or ""
        self.save()
        return payload["proxied_error"]


class RemoteTask(SimpleTask):
    """Two steps, which a client from outside starts."""

    name = models.TextField()

    final_step = 2
    remote = True
    channel = "remote"

    class Meta:
        app_label = "model_tasks"

    def do_task_main_step1(self, payload):
        return {"said": payload.get("said")}

    def do_task_main_step2(self, payload):
        return f"{self.name}: {payload.get('said')}"


class WholeTask(SimpleTask):
    """Each step in one transaction with its record."""

    name = models.TextField(default="")

    final_step = 2
    options = {"atomic": True}

    class Meta:
        app_label = "model_tasks"

    def do_task_main_step1(self, payload):
        HelloTask.objects.create(name=f"{self.name} 1")

    def do_task_main_step2(self, payload):
        HelloTask.objects.create(name=f"{self.name} 2")
        if self.name == "bad":
            raise ValueError("no")


class LimitedTask(SimpleTask):
    """One at a time."""

    options = {"concurrency": 1}

    class Meta:
        app_label = "model_tasks"

    def do_task_main(self, payload):
        return 1


class GatedTask(SimpleTask):
    """Three steps, which say in which order they have run; each takes a slot and a token."""

    order: ClassVar[list[tuple[int, int]]] = []

    final_step = 3
    options = {"concurrency": 1, "rate": Rate("5/h", burst=5)}

    class Meta:
        app_label = "model_tasks"

    def do_task_main_step1(self, payload):
        self.order.append((self.pk, 1))

    def do_task_main_step2(self, payload):
        self.order.append((self.pk, 2))

    def do_task_main_step3(self, payload):
        self.order.append((self.pk, 3))


class KeyedTask(SimpleTask):
    """With keys that are made of its fields."""

    region = models.CharField(max_length=20)
    number = models.IntegerField(default=1)
    hello = models.ForeignKey(HelloTask, models.CASCADE, null=True)
    body = models.TextField(default="")

    options = {
        "concurrency": Limit(1, key=("region", "number", "hello")),
        "rate": Rate("9/s", burst=9, key=lambda row: row.region[0], cost=lambda row: int(row.number)),
    }

    class Meta:
        app_label = "model_tasks"

    def do_task_main(self, payload):
        return self.number


class ChildTask(HelloTask):
    """With a table of its own, beside that of its parent."""

    more = models.TextField()

    class Meta:
        app_label = "model_tasks"

    def do_task_main(self, payload):
        return f"{self.name} {self.more}"


class ProcessTask(SimpleTask):
    """Two steps, each in a child process of the worker."""

    said = models.TextField(default="")

    final_step = 2
    options = {"executor": "process", "retries": 1, "backoff": 0}

    class Meta:
        app_label = "model_tasks"

    def do_task_main_step1(self, payload):
        self.said += "1 "
        self.save()
        if self.said == "1 ":
            raise ValueError("once")

    def do_task_main_step2(self, payload):
        return {"pid": os.getpid()}


class AsyncTask(SimpleTask):
    """Two steps that are coroutines."""

    said = models.TextField(default="")

    final_step = 2

    class Meta:
        app_label = "model_tasks"

    async def do_task_main_step1(self, payload):
        await asyncio.sleep(0)
        self.said += "1 "
        await self.asave()

    async def do_task_main_step2(self, payload):
        return {"pid": os.getpid()}


ALL = (
    HelloTask,
    StepTask,
    BoxTask,
    WordTask,
    WorldTask,
    RemoteTask,
    WholeTask,
    LimitedTask,
    GatedTask,
    KeyedTask,
    ChildTask,
    ProcessTask,
    AsyncTask,
)
