"""Rows whose steps a client from outside starts. Their tables are made by the tests that use them."""

import time
import uuid

from django.db import models, transaction
from django.utils import translation

from autotask.model_tasks import SimpleTask
from autotask.tasks import Rate
from tests import gates


class HelloTask(SimpleTask):
    """One step."""

    name = models.CharField(max_length=64)
    region = models.CharField(max_length=64, default="default")

    remote = True
    channel_field = "region"

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        return f"Hello, {self.name}. Nice to meet you!"


class BoomTask(SimpleTask):
    """Fails."""

    remote = True

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        raise ValueError("boom")


class EchoTask(SimpleTask):
    """Returns its payload."""

    remote = True

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        return payload


class ThreeTask(SimpleTask):
    """Three steps; each returns what the row says, by its number."""

    returns = models.JSONField(default=dict)
    lines = models.TextField(default="")

    remote = True
    final_step = 3
    options = {"retries": 1, "backoff": 0}

    class Meta:
        app_label = "st2app"

    def do_task_main_step1(self, payload):
        return self.act(1, payload)

    def do_task_main_step2(self, payload):
        return self.act(2, payload)

    def do_task_main_step3(self, payload):
        return self.act(3, payload)

    def act(self, number, payload):
        """Write a line, then do what the row says."""
        self.lines += f"{number} "
        self.save()
        value = self.returns.get(str(number), {"n": number})
        if value == "wait":
            gates.wait_at(f"step {number}")
        elif value == "loop":
            for _ in range(1000):
                time.sleep(0.01)
        elif value == "fail once":
            if self.lines.count(f"{number} ") == 1:
                raise ValueError("once")
        elif value == "object":
            return object()
        return value


class NoMain(SimpleTask):
    """Without a method."""

    remote = True

    class Meta:
        app_label = "st2app"


class NoStep2(SimpleTask):
    """Without a method for its second step."""

    remote = True
    final_step = 2

    class Meta:
        app_label = "st2app"

    def do_task_main_step1(self, payload):
        return {}


class UuidTask(SimpleTask):
    """With a UUID as key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    remote = True

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        return "uuid"


class TextTask(SimpleTask):
    """With a text as key."""

    word = models.CharField(primary_key=True, max_length=20)

    remote = True

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        return "text"


class LimitedTask(SimpleTask):
    """One step at a time, also of those that the site starts by itself; each waits at a gate, if the row names one."""

    waits = models.TextField(default="")
    region = models.TextField(default="default")

    final_step = 2
    channel_field = "region"
    options = {"concurrency": 1}

    class Meta:
        app_label = "st2app"

    def do_task_main_step1(self, payload):
        return self.act(1)

    def do_task_main_step2(self, payload):
        return self.act(2)

    def act(self, number):
        """Return the number, when the test says so."""
        if self.waits:
            gates.wait_at(f"{self.waits} {number}")
        return {"n": number}


class DropTask(SimpleTask):
    """One step at a time; a row that finds another one there is given up, unless it has begun."""

    waits = models.BooleanField(default=False)

    remote = True
    final_step = 2
    options = {"concurrency": 1, "when_full": "drop"}

    class Meta:
        app_label = "st2app"

    def do_task_main_step1(self, payload):
        if self.waits:
            gates.wait_at("drop")

    def do_task_main_step2(self, payload):
        return "done"


class RatedTask(SimpleTask):
    """Two steps, of which few start in a minute."""

    remote = True
    final_step = 2
    options = {"rate": Rate("2/m", burst=2)}

    class Meta:
        app_label = "st2app"

    def do_task_main_step1(self, payload):
        return {"n": 1}

    def do_task_main_step2(self, payload):
        return {"n": 2}


class InsideTask(SimpleTask):
    """Run by workers of the site alone."""

    channel = "nobody_serves_this"

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        return "inside"


class AtomicTask(SimpleTask):
    """Says whether it runs in a transaction, and makes another row."""

    remote = True
    options = {"atomic": True}

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        HelloTask.objects.create(name="made by a step")
        return transaction.get_connection().in_atomic_block


class LanguageTask(SimpleTask):
    """Says which language is active, and what the client has sent."""

    remote = True

    class Meta:
        app_label = "st2app"

    def do_task_main(self, payload):
        return [translation.get_language(), payload.get("said")]


class PlainRow(models.Model):
    """No task."""

    class Meta:
        app_label = "st2app"


ALL = (
    HelloTask,
    BoomTask,
    EchoTask,
    ThreeTask,
    NoMain,
    NoStep2,
    UuidTask,
    TextTask,
    LimitedTask,
    DropTask,
    RatedTask,
    InsideTask,
    AtomicTask,
    LanguageTask,
    PlainRow,
)
