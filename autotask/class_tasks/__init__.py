"""Tasks that are classes: each attempt runs a method of a fresh instance, with hooks before and after it."""

from autotask.class_tasks.async_task import AsyncTask
from autotask.class_tasks.base import BaseTask

__all__ = ["AsyncTask", "BaseTask"]
