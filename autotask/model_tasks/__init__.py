"""Tasks as Django models: a row is a task, and its methods are the steps."""

from autotask.model_tasks.base import SimpleTask
from autotask.model_tasks.queryset import SimpleTaskManager, SimpleTaskQuerySet, Status

__all__ = ["SimpleTask", "SimpleTaskManager", "SimpleTaskQuerySet", "Status"]
