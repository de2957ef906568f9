"""The facts about a viewer on which the pages of the dashboard depend: viewers with the same facts see the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import get_language

from autotask.admin import bulk, tabs
from autotask.admin.bulk_words import Word
from autotask.admin.dashboard import rates
from autotask.models import Pause, TaskRecord, Worker
from autotask.store.connection import current

if TYPE_CHECKING:
    from autotask.admin.dashboard.pages import DashboardAdmin


@dataclass(frozen=True, slots=True)
class Viewer:
    """The user who looks at a page, with language and time zone.

    :ivar acts: what the user may do to all tasks that match.
    :ivar chosen_range: that of the chart.
    :ivar tasks_address: of the list of tasks: addresses may differ between hosts and languages; None: the site has none, or
        the user may not see it.
    :ivar schema: of the connection, where tenants have schemas of their own.
    """

    may_see_tasks: bool
    may_see_workers: bool
    may_see_pauses: bool
    acts: Sequence[Word]
    chosen_range: str
    tasks_address: str | None
    language: str | None
    zone: str
    schema: str | None


def viewer_of(request: HttpRequest, page: "DashboardAdmin") -> Viewer:
    """Return the viewer who has sent a request."""
    return Viewer(
        may_see_tasks=tabs.may_view(request, TaskRecord) and tabs.shows_all_tasks(page.admin_site),
        may_see_workers=tabs.may_view(request, Worker),
        may_see_pauses=tabs.may_view(request, Pause),
        acts=tuple(bulk.words_for(request)),
        chosen_range=rates.chosen(request.GET.get("range")),
        tasks_address=page.tasks_address() if tabs.may_view(request, TaskRecord) else None,
        language=get_language(),
        zone=timezone.get_current_timezone_name(),
        schema=getattr(current(), "schema_name", None),
    )
