"""The notes that tasks of the demo write while they run, and a model whose rows are tasks."""

import os
from typing import Any

from django.db import models

from autotask.model_tasks import SimpleTask


class Note(models.Model):
    """A line written by a task: it shows pages and tests that the task ran, how often, and in which process."""

    topic = models.TextField(db_index=True)
    text = models.TextField()
    pid = models.IntegerField()
    written_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"

    @classmethod
    def write(cls, topic: str, text: str) -> "Note":
        """Write a line with the id of this process."""
        return cls.objects.create(topic=topic, text=text, pid=os.getpid())


class Inspection(SimpleTask):
    """The inspection of a machine: the row is the task, and its methods are the steps."""

    machine = models.TextField()
    parts = models.IntegerField(default=0)

    final_step = 2

    def __str__(self) -> str:
        return self.machine

    def do_task_main_step1(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Count the parts; if the worker dies after that, they are not counted again."""
        Note.write(f"inspection {self.pk}", "counts the parts")
        return {"parts": len(self.machine)}

    def do_task_main_step2(self, payload: dict[str, Any]) -> str:
        """Sum up."""
        self.parts = len(self.machine)
        self.save()
        return f"{self.machine}: all {self.parts} parts are fine"
