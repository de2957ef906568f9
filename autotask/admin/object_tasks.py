"""The tasks about an object, on its own page in the admin."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy as _

from autotask.admin import show
from autotask.exceptions import NotReferable
from autotask.models import TaskRecord
from autotask.references import subject
from autotask.subjects import tasks_of

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = object  # it is mixed into a class of the project

#: The newest tasks that the page of an object shows.
SHOWN = 10


class TasksOfObjectMixin(ModelAdmin):
    """Shows on the page of an object the newest tasks about it, to users who may see tasks.

    ::

        @admin.register(Order)
        class OrderAdmin(TasksOfObjectMixin, admin.ModelAdmin):
            ...

    ``background_tasks`` can also be among the ``fields`` of a page; then it is shown there.
    """

    @property
    def media(self) -> Any:
        """Add the style sheet."""
        return super().media + forms.Media(css={"all": ["autotask/admin.css"]})

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Add the field that shows the tasks."""
        usual = super().get_readonly_fields(request, obj)
        return usual if "background_tasks" in usual else (*usual, "background_tasks")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave the field out where the page has no list of its own: it gets a part of the page."""
        usual = super().get_fields(request, obj)
        return usual if self.fields else [field for field in usual if field != "background_tasks"]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Add the tasks at the end of the page of an object, unless its fields have them elsewhere."""
        usual = list(super().get_fieldsets(request, obj))
        is_placed = any("background_tasks" in _flat(options["fields"]) for _, options in usual)
        if obj is None or not request.user.has_perm("autotask.view_taskrecord"):
            return [(name, {**options, "fields": _without(options["fields"])}) for name, options in usual]
        return usual if is_placed else [*usual, (_("Background tasks"), {"fields": ("background_tasks",)})]

    @admin.display(description=_("tasks"))
    def background_tasks(self, obj: Any) -> str:
        """Show the newest tasks about the object."""
        if obj is None or obj._state.adding:
            return show.NOTHING
        try:
            found = list(tasks_of(obj).defer("flow", "metadata")[: SHOWN + 1])
        except NotReferable:  # It cannot be a subject, for example since its key is too long.
            return gettext("none")
        address = _list_address(self.admin_site)
        rows = format_html_join("", "<li>{} {} {} {} {}</li>", (_row(record, address) for record in found[:SHOWN]))
        if not rows:
            return gettext("none")
        more = ""
        if address is not None:
            all_of_it = f"{address}?{urlencode({'subject': subject(obj)})}"
            words = gettext("All tasks of this object") if len(found) <= SHOWN else gettext("More tasks of this object")
            more = show.link(all_of_it, words)
        return format_html('<ul class="autotask-tasks">{}</ul>{}', rows, more)


def _row(record: TaskRecord, address: str | None) -> tuple[object, ...]:
    page = None if address is None else f"{address}{record.id}/change/"
    note = '<span class="autotask-note">{}</span>'
    why: str | SafeString = ""
    if record.error_message:
        why = format_html('<span class="autotask-reason">{}</span>', show.shortened(record.error_message, 100))
    return (
        show.state(record.state),
        show.link(page, show.name(record.name)),
        format_html(note, show.shortened(record.arguments, 80)),
        show.moment(record.created_at),
        why,
    )


def _list_address(site: admin.AdminSite) -> str | None:
    if not site.is_registered(TaskRecord):
        return None
    return reverse("admin:autotask_taskrecord_changelist", current_app=site.name)


def _flat(fields: Any) -> list[Any]:
    return [name for field in fields for name in (field if isinstance(field, (list, tuple)) else (field,))]


def _without(fields: Any) -> list[Any]:
    parts = [_without(field) if isinstance(field, (list, tuple)) else field for field in fields]
    return [part for part in parts if part not in ("background_tasks", [])]
