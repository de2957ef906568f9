"""Delayed, periodic and cron tasks for Django on PostgreSQL."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "1.0.0.dev0"

if TYPE_CHECKING:
    from autotask.subjects import tasks_of as tasks_of
else:

    def __getattr__(name: str) -> Any:
        """Return :func:`autotask.subjects.tasks_of`: it needs models, and Django has none when it imports this package."""
        if name != "tasks_of":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module("autotask.subjects").tasks_of
