"""The addresses of the dashboard's own pages, and who may see them."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext

from autotask.admin import tabs
from autotask.admin.dashboard import errors, overview, types
from autotask.admin.readonly import ReadOnlyAdmin

#: A page: the key of its tab, its title, its template, and what it shows.
Shown = Callable[["DashboardAdmin", HttpRequest], dict[str, Any]]


class DashboardAdmin(ReadOnlyAdmin):
    """Overview, task types and errors."""

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses; the overview is where the list of rows would be."""
        view = self.admin_site.admin_view
        return [
            path("", view(self.overview), name="autotask_dashboard_changelist"),
            path("types/", view(self.types), name="autotask_dashboard_types"),
            path("errors/", view(self.errors), name="autotask_dashboard_errors"),
        ]

    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show whether everything is all right."""
        return self._page(request, "dashboard", gettext("Overview"), "overview", overview.shown)

    def types(self, request: HttpRequest) -> HttpResponse:
        """Show the tasks that the code of this process has."""
        return self._page(request, "types", gettext("Task types"), "types", types.shown)

    def errors(self, request: HttpRequest) -> HttpResponse:
        """Show why tasks failed."""
        return self._page(request, "errors", gettext("Errors"), "errors", errors.shown)

    def _page(self, request: HttpRequest, tab: str, title: str, template: str, shown: Shown) -> HttpResponse:
        if not tabs.may_open(request, self.admin_site, tab):
            raise PermissionDenied
        is_part = tabs.LIVE in request.headers
        context: dict[str, Any] = {"base": f"admin/autotask/dashboard/{'part' if is_part else 'base'}.html"}
        if not is_part:  # a part has no frame, which takes longer than the part
            context |= self.admin_site.each_context(request) | tabs.context(request, self.admin_site, tab)
            context |= {"title": title, "media": self.media, "opts": self.opts}
        request.current_app = self.admin_site.name  # Django reads it for addresses
        return TemplateResponse(
            request, f"admin/autotask/dashboard/{template}.html", {**context, **shown(self, request)}
        )
