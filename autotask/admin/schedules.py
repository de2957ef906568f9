"""The pages of schedules: what repeats, when it ran and when it will."""

from datetime import timedelta
from urllib.parse import urlencode

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _

from autotask.admin import show
from autotask.admin.readonly import ReadOnlyAdmin
from autotask.models import Schedule

#: A tick that is later than this has no worker that cares for it.
LATE = timedelta(minutes=1)


class ScheduleAdmin(ReadOnlyAdmin):
    """Periodic and cron tasks."""

    list_display = ("title", "spec_text", "last", "next", "tasks")
    list_display_links = ("title",)
    list_filter = ()
    ordering = ("name",)
    fieldsets = (
        (None, {"fields": ("title", "spec_text", "tasks")}),
        (_("Times"), {"fields": ("last_exactly", "next_exactly", "registered", "declared")}),
    )

    @admin.display(description=_("schedule"))
    def title(self, schedule: Schedule) -> str:
        """Show the name."""
        return show.name(schedule.name)

    @admin.display(description=_("when"))
    def spec_text(self, schedule: Schedule) -> str:
        """Show the timetable."""
        return schedule.spec

    @admin.display(description=_("last tick"))
    def last(self, schedule: Schedule) -> str:
        """Show how long ago it was due last."""
        return show.moment(schedule.last_tick)

    @admin.display(description=_("next tick"))
    def next(self, schedule: Schedule) -> str:
        """Show when it is due next; whether nobody cared for it."""
        return self._marked(schedule, show.moment(schedule.next_tick))

    @admin.display(description=_("tasks"))
    def tasks(self, schedule: Schedule) -> str:
        """Show the way to its tasks."""
        address = self.tasks_address()
        return show.link(address and f"{address}?{urlencode({'task': schedule.task})}", gettext("tasks"))

    @admin.display(description=_("last tick"))
    def last_exactly(self, schedule: Schedule) -> str:
        """Show when it was due last."""
        return show.exact_moment(schedule.last_tick)

    @admin.display(description=_("next tick"))
    def next_exactly(self, schedule: Schedule) -> str:
        """Show when it is due next."""
        return self._marked(schedule, show.exact_moment(schedule.next_tick))

    @admin.display(description=_("registered"))
    def registered(self, schedule: Schedule) -> str:
        """Show when its timetable was registered."""
        return show.exact_moment(schedule.registered_at)

    @admin.display(description=_("declared"))
    def declared(self, schedule: Schedule) -> str:
        """Show when a worker last said that its code has this schedule."""
        return show.exact_moment(schedule.declared_at)

    def _marked(self, schedule: Schedule, text: str) -> str:
        if timezone.now() - schedule.next_tick < LATE:
            return text
        late = show.pill(gettext("late"), "lost", gettext("No worker has this schedule in its code, or none is alive."))
        return format_html("{} {}", text, late)
