"""Django's own tasks framework, or its backport on Django 5.2: the only place that imports either."""

from typing import TYPE_CHECKING, Any

import django
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import TaskContext, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TASK_REFRESH_ATTRS, Task, TaskError, TaskResult
    from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
else:
    # By the version, not by what is installed: if both are, mixing their classes breaks either.
    try:
        from django_tasks import TaskContext, TaskResultStatus, checks, exceptions, task_backends  # noqa: F401 - the checks
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.base import TASK_REFRESH_ATTRS, Task, TaskError, TaskResult
        from django_tasks.exceptions import TaskResultDoesNotExist
        from django_tasks.signals import task_enqueued, task_finished, task_started
        from django_tasks.utils import normalize_json

        # Its next version has the names of Django.
        InvalidTask = getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError
    except ImportError as error:
        raise ImproperlyConfigured(
            f"Django {django.__version__} has no django.tasks, and its backport cannot be imported ({error}). "
            'Install it: pip install "autotask[django-tasks]"'
        ) from error

if TYPE_CHECKING:
    AnyTask = Task[..., Any]
    AnyResult = TaskResult[..., Any]
else:
    AnyTask = Task
    AnyResult = TaskResult

__all__ = [
    "TASK_REFRESH_ATTRS",
    "AnyResult",
    "AnyTask",
    "BaseTaskBackend",
    "InvalidTask",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
