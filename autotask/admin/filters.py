"""The choices beside the list of tasks; they come from the code, never from a search through the rows."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from autotask import registry
from autotask.admin.show import STATE_WORDS
from autotask.conf import settings
from autotask.task import State

#: The words that stand for the states in addresses; they are not translated.
STATES = {
    "scheduled": State.SCHEDULED,
    "waiting": State.READY,
    "running": State.RUNNING,
    "done": State.DONE,
    "error": State.ERROR,
    "cancelled": State.CANCELLED,
}


class StateFilter(admin.SimpleListFilter):
    """One of the states that a task can be in."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return all states."""
        return [(word, STATE_WORDS[state]) for word, state in STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave the tasks in that state."""
        state = self.state()
        return queryset if state is None else queryset.filter(state=state)

    def state(self) -> State | None:
        """Return the chosen state; None: all of them."""
        return STATES.get(self.value() or "")


class QueueFilter(admin.SimpleListFilter):
    """One of the queues that the code and the settings name."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return the queues by name."""
        names = {definition.options.queue for definition in registry.definitions()} | set(settings.QUEUES)
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave the tasks of that queue."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


class TaskFilter(admin.SimpleListFilter):
    """One of the definitions that this process knows."""

    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return the tasks by name."""
        return [(name, name) for name in sorted(definition.name for definition in registry.definitions())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave the tasks with that name."""
        return queryset.filter(name=self.value()) if self.value() else queryset
