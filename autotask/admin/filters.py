"""The filters of the lists; the choices for tasks come from the code, never from a search through the rows."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _, pgettext_lazy

from autotask import registry
from autotask.admin.readonly import is_storable
from autotask.admin.show import STATE_WORDS
from autotask.agenda import LATE, Condition
from autotask.conf import settings
from autotask.store import few
from autotask.store.connection import current
from autotask.task import State

#: The states in addresses, not translated.
STATES = {
    "scheduled": State.SCHEDULED,
    "waiting": State.READY,
    "held": State.HELD,
    "running": State.RUNNING,
    "done": State.DONE,
    "error": State.ERROR,
    "cancelled": State.CANCELLED,
}


#: The most running, ready and held tasks that are looked up one by one, from their own tables.
FEW = 1_000


def in_state(state: State) -> Q:
    """Return the condition for the tasks in a state, such that the database finds them by an index, few or many.

    The state of a live task in the view is worked out, which no index knows; and the view reads three tables, of which a
    condition on the end leaves out one or two.
    """
    if state.ended:
        return Q(state=state, ended_at__isnull=False)
    if state is State.SCHEDULED:
        return Q(stored_state=state, ended_at__isnull=True)
    if (found := few.ids(current(), state, FEW)) is not None:
        return Q(id__in=found, state=state)
    running = few.ids(current(), State.RUNNING, FEW) if state is not State.RUNNING else None
    of_row = Q(
        stored_state__in=(State.READY, State.HELD) if state is State.RUNNING else (state,), ended_at__isnull=True
    )
    # To know that few run is better for the plan than to ask of each whether it runs.
    return of_row & Q(state=state) if running is None else of_row & ~Q(id__in=running)


def refuse_unless(is_valid: bool) -> None:
    """Refuse a value that is not among the choices: all rows would be shown as if they had it.

    :raises IncorrectLookupParameters: it is not valid.
    """
    if not is_valid:
        raise IncorrectLookupParameters


class StateFilter(admin.SimpleListFilter):
    """A choice among the states of a task, which is shown above the list."""

    template = "admin/autotask/no_filter.html"
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return all states."""
        return [(word, STATE_WORDS[state]) for word, state in STATES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the tasks in that state.

        :raises IncorrectLookupParameters: there is no such state.
        """
        state = self.state()
        refuse_unless(state is not None or not self.value())
        return queryset if state is None else queryset.filter(in_state(state))

    def state(self) -> State | None:
        """Return the chosen state; None for all."""
        return STATES.get(self.value() or "")


class LinkedFilter(admin.SimpleListFilter):
    """A value in the address, to which other pages link. Only that one is offered: nobody knows all values."""

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return the chosen value only."""
        return [(self.value() or "", self.value())] if self.value() else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the tasks with that value."""
        value = self.value()
        if not value:
            return queryset
        return queryset.filter(self.having(value)) if is_storable(value) else queryset.none()

    def having(self, value: str) -> Q:
        """Return the condition for the tasks with a value."""
        return Q(**{str(self.parameter_name): value})


class GateFilter(LinkedFilter):
    """The gate to which the page of a held task links: only tasks that wait there."""

    title = _("gate")
    parameter_name = "gate"

    def having(self, value: str) -> Q:
        """Return the condition for the tasks that wait at a gate."""
        if (found := few.ids_at(current(), value, FEW)) is not None:
            return Q(id__in=found, state=State.HELD, gate=value)
        return in_state(State.HELD) & Q(gate=value)


class SubjectFilter(LinkedFilter):
    """The subject to which the pages of its tasks link: only tasks about it."""

    title = _("subject")
    parameter_name = "subject"


class UnindexedFilter(admin.SimpleListFilter):
    """A choice by a column without an index, so the list searches the newest tasks only.

    :cvar lookup: the column, as a query names it.
    """

    lookup: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the tasks with the chosen value."""
        value = self.value()
        if not value:
            return queryset
        return queryset.filter(**{self.lookup: value}) if is_storable(value) else queryset.none()


class QueueFilter(UnindexedFilter):
    """A choice among the queues that the code and the settings name."""

    title = _("queue")
    parameter_name = lookup = "queue"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return the queues by name."""
        names = {definition.options.queue for definition in registry.definitions()} | set(settings.QUEUES)
        return [(name, name) for name in sorted(names)]


class TaskFilter(UnindexedFilter):
    """A choice among the definitions of this process."""

    title = _("task")
    parameter_name = "task"
    lookup = "name"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return the tasks by name."""
        return [(name, name) for name in sorted(definition.name for definition in registry.definitions())]


class TagFilter(UnindexedFilter):
    """A choice among the tags that the code names, and the one in the address."""

    title = _("tag")
    parameter_name = "tag"
    lookup = "tags__has"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return the tags by name."""
        names = {tag for definition in registry.definitions() for tag in definition.options.tags or ()}
        return [(name, name) for name in sorted(names | {self.value() or ""} - {""})]


class ConditionFilter(admin.SimpleListFilter):
    """A choice among the states of registered schedules."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, Any]]:
        """Return all states."""
        return [
            (Condition.ACTIVE.value, pgettext_lazy("state of a schedule", "active")),
            (Condition.PAUSED.value, _("paused")),
            (Condition.LATE.value, _("late")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the schedules in that state, by the clock of the database.

        :raises IncorrectLookupParameters: there is no such state.
        """
        late = Q(next_tick__lt=Now() - LATE)
        chosen = {
            Condition.ACTIVE.value: ~late & Q(paused_at__isnull=True),
            Condition.PAUSED.value: Q(paused_at__isnull=False),
            Condition.LATE.value: late & Q(paused_at__isnull=True),
        }.get(self.value() or "")
        refuse_unless(chosen is not None or not self.value())
        return queryset if chosen is None else queryset.filter(chosen)
