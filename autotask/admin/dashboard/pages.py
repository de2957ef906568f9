"""The addresses of the dashboard's own pages, and who may see them."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache

from autotask.admin import tabs
from autotask.admin.dashboard import errors, overview, passes, types
from autotask.admin.dashboard.shared import SharedParts
from autotask.admin.dashboard.viewer import Viewer, viewer_of
from autotask.admin.readonly import ReadOnlyAdmin

#: Returns what a page shows.
Shown = Callable[["DashboardAdmin", Viewer], dict[str, Any]]


class DashboardAdmin(ReadOnlyAdmin):
    """Overview, task types and errors."""

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses; the overview is where the list of rows would be."""
        view = self._checked
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

    def _checked(self, view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
        """Return the view for users who may see it; a refresh with a pass needs no other check."""
        checked = self.admin_site.admin_view(view)

        @never_cache
        @functools.wraps(checked)
        def answered(request: HttpRequest) -> HttpResponse:
            if (key := passes.key_in(request)) is not None and (kept := _parts.kept(key)) is not None:
                return HttpResponse(kept)
            return checked(request)

        return answered

    def _page(self, request: HttpRequest, tab: str, title: str, template: str, shown: Shown) -> HttpResponse:
        if not tabs.may_open(request, self.admin_site, tab):
            raise PermissionDenied
        name, viewer = f"admin/autotask/dashboard/{template}.html", viewer_of(request, self)
        if tabs.LIVE in request.headers:
            key = _key(self.admin_site.name, name, viewer)
            part = _parts.get(key, lambda: self._part(name, viewer, shown))
            return passes.give(request, HttpResponse(part), key)
        context = {
            **self.admin_site.each_context(request),
            **tabs.context(request, self.admin_site, tab),
            **{"title": title, "media": self.media, "opts": self.opts, "base": "admin/autotask/dashboard/base.html"},
        }
        request.current_app = self.admin_site.name  # Django reads it for addresses
        return TemplateResponse(request, name, {**context, **shown(self, viewer)})

    def _part(self, template: str, viewer: Viewer, shown: Shown) -> str:
        """Return the part of the page that changes, without the frame; not from the request, since others see it, too."""
        return render_to_string(template, {"base": "admin/autotask/dashboard/part.html", **shown(self, viewer)})


def _key(site: str, template: str, viewer: Viewer) -> str:
    """Return the mark that identifies a part, the same in all processes; its content cannot be read from it."""
    return hashlib.sha256(repr((site, template, viewer)).encode()).hexdigest()


_parts = SharedParts()
