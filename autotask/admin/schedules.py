"""The pages of schedules, with their last and next runs, and buttons to pause, resume and run them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_lazy as _, ngettext_lazy, pgettext

from autotask import agenda
from autotask.acts import schedules as acts
from autotask.acts.answers import Answer, Refusal
from autotask.admin import show, timetables
from autotask.admin.acting import ActingAdmin, Button
from autotask.admin.filters import ConditionFilter
from autotask.agenda import Condition, Entry
from autotask.models import Schedule
from autotask.schedules import zone_data
from autotask.schedules.crontab import Crontab
from autotask.store import schedule_runs
from autotask.store.connection import current
from autotask.store.read import StoredTask

#: Ticks that the page of a schedule shows.
MOST_COMING = 10

#: Runs that the page of a schedule shows.
MOST_RUNS = 20

REFUSAL_WORDS: dict[object, Any] = {
    Refusal.PAUSED: _("already paused"),
    Refusal.NOT_PAUSED: _("not paused"),
    Refusal.NOT_REGISTERED: _("no longer registered"),
    Refusal.NOT_IN_CODE: _("not in the code of this process"),
}


class ScheduleList(ChangeList):
    """One page of the list."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and with two more queries the entries and last runs."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        attach(self.result_list)


class ScheduleAdmin(ActingAdmin):
    """Periodic and cron tasks."""

    noun = "schedule"
    gone = _("The schedule is no longer registered.")

    list_display = ("title", "condition", "when", "last_run", "next", "tasks")
    list_display_links = ("title",)
    list_filter = (ConditionFilter,)
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("pause", "resume", "run_now")
    fieldsets = (
        (None, {"fields": ("title", "condition_in_full", "when", "policy", "tasks")}),
        (_("Next"), {"fields": ("coming", "clock_changes", "time_zone_data")}),
        (_("Times"), {"fields": ("last_exactly", "registered", "declared")}),
    )

    # --- the list ---------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that looks up entries and runs for the whole page."""
        return ScheduleList

    @admin.display(description=_("schedule"))
    def title(self, schedule: Schedule) -> str:
        """Show the name."""
        return show.name(schedule.name)

    @admin.display(description=_("state"))
    def condition(self, schedule: Schedule) -> str:
        """Show whether it is active, paused or late."""
        entry = entry_of(schedule)
        condition = entry.condition(datetime.now(UTC))
        if condition is Condition.PAUSED:
            return show.pill(gettext("paused"), "ready", gettext("by %(who)s") % {"who": schedule.paused_by})
        if condition is Condition.LATE:
            return show.pill(gettext("late"), "lost", gettext("No running worker has this schedule in its code."))
        return show.pill(pgettext("state of a schedule", "active"), "done")

    @show.column(_("when"))
    def when(self, schedule: Schedule) -> str:
        """Show the timetable in words, and as a cron expression."""
        entry = entry_of(schedule)
        if not isinstance(entry.timetable, Crontab):
            return timetables.of_entry(entry)
        return format_html(
            '{}<div class="autotask-note">{} · {}</div>',
            timetables.of_entry(entry),
            entry.timetable.expression,
            entry.timetable.tz,
        )

    @show.column(_("last run"))
    def last_run(self, schedule: Schedule) -> str:
        """Show the state of its newest task."""
        run: StoredTask | None = vars(schedule).get("last_run")
        if run is None:
            return show.NOTHING
        moment = show.moment(run.ended_at or run.started_at or run.created_at)
        return format_html("{} {}", self.link_to_task(run.id, show.state(run.state, run.error_message)), moment)

    @show.column(_("next"))
    def next(self, schedule: Schedule) -> str:
        """Show when it is due next."""
        now = datetime.now(UTC)
        entry = entry_of(schedule)
        coming = [] if entry.condition(now) is Condition.PAUSED else entry.coming(now, 1)
        return show.moment(coming[0]) if coming else show.NOTHING

    @admin.display(description=_("tasks"))
    def tasks(self, schedule: Schedule) -> str:
        """Show a link to its tasks."""
        return self.link_to_tasks(gettext("tasks"), task=schedule.task)

    # --- one schedule -----------------------------------------------------------------------------------------------

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the schedule with its entry and last run."""
        schedule = super().get_object(request, object_id, from_field)
        if schedule is not None:
            attach([schedule])
        return schedule

    def page_context(self, request: HttpRequest, obj: Schedule) -> dict[str, Any]:
        """Return the last runs of the schedule, and which buttons the user may press."""
        may_pause, entry = self.has_pause_permission(request), entry_of(obj)
        return {
            "runs": [self._shown(run, entry) for run in schedule_runs.runs(current(), obj.name, MOST_RUNS)],
            "can_pause": may_pause and obj.paused_at is None,
            "can_resume": may_pause and obj.paused_at is not None,
            "can_run": self.has_run_permission(request) and entry.task is not None,
        }

    def _shown(self, run: StoredTask, entry: Entry) -> dict[str, object]:
        took = None if run.started_at is None or run.ended_at is None else run.ended_at - run.started_at
        tick = run.scheduled_for
        return {
            "state": self.link_to_task(run.id, show.state(run.state)),
            "tick": gettext("by hand") if tick is None else show.moment_in(tick, entry.zone),
            "started": show.moment(run.started_at),
            "ran": show.duration(took),
            "error": run.error_message,
        }

    @admin.display(description=_("state"))
    def condition_in_full(self, schedule: Schedule) -> str:
        """Show whether it is paused, since when and by whom, and whether the code has it."""
        entry, shown = entry_of(schedule), [self.condition(schedule)]
        if schedule.paused_at is not None:
            words = gettext("by %(who)s") % {"who": schedule.paused_by or gettext("an unknown user")}
            shown.append(format_html("{} {}", words, show.moment(schedule.paused_at)))
        if entry.task is None:
            shown.append(gettext("It is not in the code of this process."))
        elif entry.code_differs:
            shown.append(gettext("The code of this process has another timetable."))
        return format_html_join(" ", "{}", ((part,) for part in shown))

    @admin.display(description=_("policy"))
    def policy(self, schedule: Schedule) -> str:
        """Show what happens to ticks that were missed or overlap, and the most by which tasks are delayed at random."""
        task = entry_of(schedule).task
        if task is None:
            return show.NOTHING
        words = gettext("misfire: %(misfire)s · overlap: %(overlap)s · jitter: %(jitter)s")
        jitter = show.duration(timedelta(seconds=task.policy.jitter)) if task.policy.jitter else gettext("none")
        return words % {"misfire": task.policy.misfire, "overlap": task.policy.overlap, "jitter": jitter}

    @admin.display(description=_("due"))
    def coming(self, schedule: Schedule) -> str:
        """Show the next ticks, as if it were not paused."""
        entry = entry_of(schedule)
        moments = entry.coming(datetime.now(UTC), MOST_COMING)
        return _items(show.moment_in(moment, entry.zone) for moment in moments)

    @admin.display(description=_("clock changes"))
    def clock_changes(self, schedule: Schedule) -> str:
        """Show the effect of clock changes within a year."""
        return _items(map(str, entry_of(schedule).clock_changes(datetime.now(UTC))))

    @admin.display(description=_("time zone data"))
    def time_zone_data(self, schedule: Schedule) -> str:
        """Show the time zone data in use, and newer data if it is installed and differs."""
        if (found := entry_of(schedule).zone_data(datetime.now(UTC))) is None:
            return show.NOTHING
        in_use, newer = found
        return _items([str(in_use), *([str(newer), zone_data.advice(newer)] if newer else [])])

    @admin.display(description=_("last tick"))
    def last_exactly(self, schedule: Schedule) -> str:
        """Show when it was due last."""
        return show.exact_moment(schedule.last_tick)

    @admin.display(description=_("registered"))
    def registered(self, schedule: Schedule) -> str:
        """Show when its timetable was registered."""
        return show.exact_moment(schedule.registered_at)

    @admin.display(description=_("declared"))
    def declared(self, schedule: Schedule) -> str:
        """Show when a worker last declared that its code has this schedule."""
        return show.exact_moment(schedule.declared_at)

    # --- pause, resume and run --------------------------------------------------------------------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause and resume schedules."""
        return request.user.has_perm("autotask.pause_schedule")

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the user may run schedules."""
        return request.user.has_perm("autotask.run_schedule")

    @admin.action(description=_("Pause selected schedules"), permissions=["pause"])
    def pause(self, request: HttpRequest, schedules: Iterable[Schedule]) -> None:
        """Let their ticks pass without tasks."""
        log, by = self.log_for(request, gettext("Paused."), schedules), request.user.get_username()
        answers = acts.pause(_names(schedules), by, log)
        words = ngettext_lazy("%(number)d schedule is paused.", "%(number)d schedules are paused.", "number")
        self._tell(request, answers, words)

    @admin.action(description=_("Resume selected schedules"), permissions=["pause"])
    def resume(self, request: HttpRequest, schedules: Iterable[Schedule]) -> None:
        """Let their ticks make tasks again."""
        answers = acts.resume(_names(schedules), self.log_for(request, gettext("Resumed."), schedules))
        words = ngettext_lazy("%(number)d schedule is resumed.", "%(number)d schedules are resumed.", "number")
        self._tell(request, answers, words)

    @admin.action(description=_("Run selected schedules now"), permissions=["run"])
    def run_now(self, request: HttpRequest, schedules: Iterable[Schedule]) -> None:
        """Enqueue a task of each, in addition to its ticks."""
        answers = acts.run(_names(schedules), self.log_for(request, gettext("Run by hand."), schedules))
        words = ngettext_lazy("%(number)d task is enqueued.", "%(number)d tasks are enqueued.", "number")
        self._tell(request, answers, words)

    def buttons(self) -> Sequence[Button]:
        """Return the buttons on the page of a schedule."""
        return (
            Button("pause", self.has_pause_permission, self.pause),
            Button("resume", self.has_pause_permission, self.resume),
            Button("run", self.has_run_permission, self.run_now),
        )

    def _tell(self, request: HttpRequest, answers: Iterable[Answer[str]], words: Any) -> None:
        by_reason: dict[object, list[str]] = defaultdict(list, {None: []})  # success first
        for answer in answers:
            by_reason[answer.refused].append(answer.key)
        for reason, names in by_reason.items():
            if reason is not None:
                self.message_user(request, f"{REFUSAL_WORDS[reason]}: {_named(names)}", messages.WARNING)
            elif names:
                self.message_user(request, words % {"number": len(names)}, messages.SUCCESS)


def attach(schedules: Sequence[Schedule]) -> None:
    """Look up the entries of schedules, for :func:`entry_of`, and their last runs."""
    entries = {entry.name: entry for entry in agenda.entries(current())}
    last = schedule_runs.last_runs(current(), [schedule.name for schedule in schedules])
    for schedule in schedules:
        # One that has just been deleted from the register is shown again.
        vars(schedule)["entry"] = entries.get(schedule.name) or Entry(schedule.name, None, None)
        vars(schedule)["last_run"] = last.get(schedule.name)


def entry_of(schedule: Schedule) -> Entry:
    """Return the entry of a schedule, which was looked up."""
    entry: Entry = vars(schedule)["entry"]
    return entry


def _items(shown: Iterable[str]) -> str:
    items = format_html_join("", "<li>{}</li>", ((each,) for each in shown))
    return format_html('<ul class="autotask-tasks">{}</ul>', items) if items else show.NOTHING


def _names(schedules: Iterable[Schedule]) -> list[str]:
    return [schedule.name for schedule in schedules]


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return (
        shown if len(names) <= 5 else gettext("%(names)s and %(more)d more") % {"names": shown, "more": len(names) - 5}
    )
