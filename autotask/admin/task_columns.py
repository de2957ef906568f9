"""The columns of the list of tasks, and the fields of a task's page."""

from datetime import timedelta

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_lazy as _

from autotask.admin import flow, show, times
from autotask.admin.acting import ActingAdmin
from autotask.admin.listing import worker_of
from autotask.conf import settings
from autotask.context import Progress
from autotask.models import TaskRecord
from autotask.store.columns import WHY
from autotask.task import State


class TaskColumns(ActingAdmin):
    """The columns of the list, and the fields of the page."""

    @admin.display(description=_("state"))
    def state_pill(self, record: TaskRecord) -> str:
        """Show the state as a word with its colour."""
        pill = show.state(record.state)
        if record.expired:
            return format_html("{} {}", pill, gettext("result expired"))
        if record.state == State.RUNNING and record.cancel_requested:
            return format_html("{} {}", pill, gettext("asked to stop"))
        # The list does not read the flow.
        if record.state == State.DONE and WHY in (vars(record).get("flow") or ()):
            return format_html("{} {}", pill, gettext("after it was asked to stop"))
        return pill

    @admin.display(description=_("state"))
    def state_and_progress(self, record: TaskRecord) -> str:
        """Show the state, and the progress if it has reported any."""
        pill = self.state_pill(record)
        if record.progress_done is None:
            return pill
        return format_html('{}<div class="autotask-below">{}</div>', pill, self.progress(record))

    @admin.display(description=_("task"))
    def task(self, record: TaskRecord) -> str:
        """Show the name of the task."""
        return show.name(record.name)

    @admin.display(description=_("task"))
    def what(self, record: TaskRecord) -> str:
        """Show the name, the shortened arguments, and why the task is held, failed or was cancelled."""
        parts = [show.link(self.task_address(record.id), show.name(record.name))]
        if record.arguments:
            parts.append(format_html('<div class="autotask-note">{}</div>', show.shortened(record.arguments, 80)))
        if why := flow.brief(record) or vars(record).get("error_start", ""):
            kind = "autotask-reason" if record.state == State.ERROR else "autotask-note"
            parts.append(format_html('<div class="{}">{}</div>', kind, show.shortened(why, 100)))
        return format_html_join("", "{}", ((part,) for part in parts))

    @admin.display(description=_("queue"))
    def queue_name(self, record: TaskRecord) -> str:
        """Show the queue."""
        return show.labelled(_("queue"), record.queue)

    @admin.display(description=_("enqueued"))
    def enqueued(self, record: TaskRecord) -> str:
        """Show how long ago it was enqueued."""
        return show.labelled(_("enqueued"), show.moment(record.created_at))

    @admin.display(description=_("waited / ran"))
    def times(self, record: TaskRecord) -> str:
        """Show how long it waited for a worker, or when it is due, and how long it ran."""
        is_due_later = record.state == State.SCHEDULED
        waited = show.moment(record.run_at) if is_due_later else self.waited(record)
        ran = self.ran(record)
        parts = (waited,) if ran == show.NOTHING else (format_html("{} /", waited), ran)
        return show.labelled(_("waited / ran"), format_html_join(" ", "<span>{}</span>", ((part,) for part in parts)))

    @admin.display(description=_("waited"))
    def waited(self, record: TaskRecord) -> str:
        """Show how long it waited for a worker."""
        if record.state == State.SCHEDULED:
            return show.NOTHING
        return show.duration(times.waited(record, timezone.now()))

    @admin.display(description=_("ran"))
    def ran(self, record: TaskRecord) -> str:
        """Show how long its last attempt took, or takes."""
        return show.duration(times.ran(record, timezone.now()))

    @admin.display(description=_("attempts"))
    def attempts(self, record: TaskRecord) -> str:
        """Show how many attempts were started, of how many."""
        return show.labelled(_("attempts"), _attempts(record))

    @admin.display(description=_("progress"))
    def progress(self, record: TaskRecord) -> str:
        """Show the progress that it last reported."""
        if record.progress_done is None:
            return show.NOTHING
        return show.progress(Progress(record.progress_done, record.progress_total))

    @admin.display(description=_("worker"))
    def worker(self, record: TaskRecord) -> str:
        """Show the worker of the last attempt; one that is gone by the end of its id."""
        if record.worker_id is None:
            return show.NOTHING
        worker = worker_of(record)
        text = str(worker) if worker else record.worker_id.hex[-8:]
        title = record.worker_id if worker else gettext("no longer registered: %(id)s") % {"id": record.worker_id}
        return format_html('<span class="autotask-name" title="{}">{}</span>', title, text)

    @admin.display(description=_("tags"))
    def tag_names(self, record: TaskRecord) -> str:
        """Show the tags."""
        return ", ".join(record.tags or ()) or show.NOTHING

    @admin.display(description=_("arguments"))
    def arguments_in_full(self, record: TaskRecord) -> str:
        """Show the stored text of the arguments."""
        return show.preformatted(record.arguments)

    @admin.display(description=_("error or reason"))
    def error(self, record: TaskRecord) -> str:
        """Show why the task failed or was cancelled."""
        return show.preformatted(record.error_message)

    @admin.display(description=_("enqueued"))
    def created(self, record: TaskRecord) -> str:
        """Show when it was enqueued."""
        return show.exact_moment(record.created_at)

    @admin.display(description=_("due"))
    def due(self, record: TaskRecord) -> str:
        """Show when it was or is due."""
        return show.exact_moment(record.run_at)

    @admin.display(description=_("expires"))
    def expires(self, record: TaskRecord) -> str:
        """Show by when it has to begin."""
        return show.exact_moment(record.expires_at)

    @admin.display(description=_("started"))
    def started(self, record: TaskRecord) -> str:
        """Show when the last attempt began."""
        return show.exact_moment(record.started_at)

    @admin.display(description=_("ended"))
    def ended(self, record: TaskRecord) -> str:
        """Show when it ended."""
        return show.exact_moment(record.ended_at)

    @admin.display(description=_("kept until"))
    def kept(self, record: TaskRecord) -> str:
        """Show when its result may be pruned."""
        if record.expired:
            return format_html("{}: {}", gettext("result expired"), show.exact_moment(record.kept_until))
        if record.kept_until is None:
            return gettext("%(time)s after it finishes") % {"time": show.duration(timedelta(seconds=record.ttl))}
        return show.exact_moment(record.kept_until)

    @admin.display(description=_("runs in"))
    def runs_in(self, record: TaskRecord) -> str:
        """Show whether a thread, a process, a coroutine or an executor of the project runs it."""
        return str(show.EXECUTOR_WORDS.get(record.executor, record.executor))

    @admin.display(description=_("time limit"))
    def time_limit(self, record: TaskRecord) -> str:
        """Show how long one attempt may take."""
        if record.timeout is None:
            return gettext("%(time)s (AUTOTASK_TIMEOUT)") % {"time": show.duration(timedelta(seconds=settings.TIMEOUT))}
        return show.duration(timedelta(seconds=record.timeout))

    @admin.display(description=_("workers lost"))
    def workers_lost(self, record: TaskRecord) -> str:
        """Show in how many attempts the worker died."""
        return str(record.lost)

    @admin.display(description=_("schedule"))
    def schedule_name(self, record: TaskRecord) -> str:
        """Show the schedule that made it."""
        return record.schedule or show.NOTHING

    @admin.display(description=_("tick"))
    def tick(self, record: TaskRecord) -> str:
        """Show the tick of the schedule that it belongs to."""
        return show.exact_moment(record.scheduled_for)


def _attempts(record: TaskRecord) -> str:
    if record.at_most_once:
        return gettext("%(number)d, at most once") % {"number": record.attempt}
    if not record.retries:
        return str(record.attempt)
    return gettext("%(number)d of %(most)d") % {"number": record.attempt, "most": record.retries + 1}
