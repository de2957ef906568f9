"""The tabs above all pages of the dashboard: those that the user may see."""

from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from autotask.models import Dashboard, Schedule, TaskRecord, Worker

#: The header of a request that wants to refresh a page: only what changes is made.
LIVE = "X-Autotask-Live"


class Tab(NamedTuple):
    """A tab.

    :ivar key: the page, or the name of its model.
    :ivar of: the model whose admin has the page.
    :ivar needs: the models whose permission "view" it takes.
    """

    key: str
    label: str | Promise
    address: str
    of: type[Model]
    needs: tuple[type[Model], ...]


TABS = (
    Tab("dashboard", _("Overview"), "autotask_dashboard_changelist", Dashboard, (Dashboard,)),
    Tab("taskrecord", _("Tasks"), "autotask_taskrecord_changelist", TaskRecord, (TaskRecord,)),
    Tab("types", _("Task types"), "autotask_dashboard_types", Dashboard, (Dashboard,)),
    Tab("schedule", _("Schedules"), "autotask_schedule_changelist", Schedule, (Schedule,)),
    Tab("worker", _("Workers"), "autotask_worker_changelist", Worker, (Worker,)),
    Tab("errors", _("Errors"), "autotask_dashboard_errors", Dashboard, (Dashboard, TaskRecord)),
)


def context(request: HttpRequest, site: AdminSite, current: str) -> dict[str, Any]:
    """Return the context of the tabs' template.

    :param current: the key of the page's own tab; another word: it is on none.
    """
    shown = [
        {
            "label": tab.label,
            "address": reverse(f"admin:{tab.address}", current_app=site.name),
            "is_current": tab.key == current,
        }
        for tab in TABS
        if site.is_registered(tab.of) and may_open(request, site, tab.key)
    ]
    return {"autotask_tabs": shown}


def may_view(request: HttpRequest, *models: type[Model]) -> bool:
    """Whether the user may see the pages of some models."""
    return request.user.has_perms([f"autotask.view_{model._meta.model_name}" for model in models])


def may_open(request: HttpRequest, site: AdminSite, key: str) -> bool:
    """Whether the user may see the page of a tab."""
    tab = next(tab for tab in TABS if tab.key == key)
    if tab.of is not TaskRecord and TaskRecord in tab.needs and not shows_all_tasks(site):
        return False
    return may_view(request, *tab.needs)


def shows_all_tasks(site: AdminSite) -> bool:
    """Whether users who may see tasks see all; not where the project's own admin of tasks leaves some out."""
    if not site.is_registered(TaskRecord):
        return True
    own: Any = site.get_model_admin(TaskRecord)
    return bool(own.shows_all()) if hasattr(own, "shows_all") else False
