"""The backend of Django's tasks framework: ``TASKS = {"default": {"BACKEND": "autotask.backend.AutotaskBackend"}}``."""

from autotask import registry, signals
from autotask.backend.backend import AutotaskBackend
from autotask.backend.definition import find, tell_of_lost
from autotask.backend.task import AutotaskTask

__all__ = ["AutotaskBackend", "AutotaskTask"]

registry.add_finder(find)
signals.task_lost.connect(tell_of_lost)
