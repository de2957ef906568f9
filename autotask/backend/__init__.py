"""The backend of Django's tasks framework: ``TASKS = {"default": {"BACKEND": "autotask.backend.AutotaskBackend"}}``."""

from autotask import signals
from autotask.backend.backend import AutotaskBackend
from autotask.backend.definition import send_lost
from autotask.backend.task import AutotaskTask

__all__ = ["AutotaskBackend", "AutotaskTask"]

signals.task_lost.connect(send_lost)
