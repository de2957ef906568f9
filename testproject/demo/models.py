"""The notes that tasks of the demo write while they run."""

import os

from django.db import models


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
