"""The base of all pages: they read the database of autotask, and change nothing."""

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup, DisallowedModelAdminToField
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import translation
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from autotask.admin import show, tabs, viewing
from autotask.conf import settings
from autotask.models import TaskRecord

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin  # cannot be subscripted at run time


#: A text of Django's own catalogues; named here, it gets into none of ours.
_SELECT = "Select this object for an action - {}"


def is_storable(text: str) -> bool:
    """Whether a text can be in a query: PostgreSQL refuses a NUL."""
    return "\0" not in text


class ReadOnlyAdmin(ModelAdmin):
    """Pages without adding, changing and deleting, and without queries that grow with the table."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    class Media:
        css = {"all": ["autotask/admin.css", "autotask/dashboard.css"]}
        js = ["autotask/live.js"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, with the tabs of the dashboard; all of it, with a message, if the address is not valid."""
        viewing.note(request)
        try:
            response = super().changelist_view(request, self._with_tabs(request, extra_context))
        except (DisallowedModelAdminLookup, DisallowedModelAdminToField):
            response = HttpResponseRedirect(request.path)
        is_whole = isinstance(response, HttpResponseRedirect) and response.url in (
            request.path,
            f"{request.path}?{ERROR_FLAG}=1",
        )
        if is_whole and request.method == "GET":
            said = gettext("The filter or the page in the address is not valid. This is the whole list.")
            self.message_user(request, said, messages.WARNING)
        return response

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show one object, with the tabs of the dashboard."""
        viewing.note(request)
        return super().changeform_view(request, object_id, form_url, self._with_tabs(request, extra_context))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Show the history of an object, with the tabs of the dashboard."""
        return super().history_view(request, object_id, self._with_tabs(request, extra_context))

    def _with_tabs(self, request: HttpRequest, context: Any) -> dict[str, Any]:
        return {**tabs.context(request, self.admin_site, self.opts.model_name or ""), **(context or {})}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read from the database of autotask, whatever the routers say."""
        return super().get_queryset(request).using(settings.DATABASE)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the object with this key; None if there is none, or the key is not valid."""
        return super().get_object(request, object_id, from_field) if self._is_key(object_id) else None

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run an action on the chosen objects; a key that is not valid cannot come from the page."""
        if not all(map(self._is_key, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise Http404
        return super().response_action(request, queryset, *args, **kwargs)

    def _is_key(self, text: str) -> bool:
        try:
            self.opts.pk.to_python(text)
        except ValidationError:
            return False
        return is_storable(text)

    def action_checkbox(self, obj: Model) -> SafeString:
        """Return the checkbox of a row; the form widget of Django's own would take a fifth of the time of a page."""
        label = format_html(translation.gettext(_SELECT), obj)
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            obj.pk,
            label,
        )

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Allow only the filters on the page; others in the address could search all rows."""
        return lookup in {choice.parameter_name for choice in self.list_filter}  # type: ignore[union-attr]  # no strings

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> "type[ModelForm[Any]]":
        """Return a form without fields."""
        return super().get_form(request, obj, change, **{**kwargs, "fields": ()})

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse."""
        return False

    def tasks_address(self) -> str | None:
        """Return the address of the list of tasks; None if the site has none."""
        if not self.admin_site.is_registered(TaskRecord):
            return None
        return reverse("admin:autotask_taskrecord_changelist", current_app=self.admin_site.name)

    def task_address(self, id: uuid.UUID) -> str | None:
        """Return the address of a task's page; None if the site has none."""
        if not self.admin_site.is_registered(TaskRecord):
            return None
        return reverse("admin:autotask_taskrecord_change", args=(id,), current_app=self.admin_site.name)

    def link_to_task(self, id: uuid.UUID, text: object) -> str:
        """Return a link to a task's page, or only the text for a user who may not see it."""
        return show.link(self.task_address(id) if viewing.may_open(TaskRecord) else None, text)

    def link_to_tasks(self, text: object, **filters: str) -> str:
        """Return a link to the list of tasks with these filters, or only the text for a user who may not see it."""
        address = self.tasks_address() if viewing.may_open(TaskRecord) else None
        return show.link(address and f"{address}?{urlencode(filters)}", text)
