"""What tasks of the demo write down while they run."""

import os

from django.db import models


class Note(models.Model):
    """A line written by a task: lets pages and tests see that it ran, how often, and in which process."""

    topic = models.TextField(db_index=True)
    text = models.TextField()
    pid = models.IntegerField()
    written_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}"

    @classmethod
    def write(cls, topic: str, text: str) -> "Note":
        """Write a line in the name of this process."""
        return cls.objects.create(topic=topic, text=text, pid=os.getpid())
