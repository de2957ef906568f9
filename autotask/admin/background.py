"""The pages of background workers, with their state, their hosts and their errors, and buttons to start, stop and trigger them."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.messages import SUCCESS, WARNING
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_lazy as _, ngettext_lazy

from autotask import registry
from autotask.acts import background as acts
from autotask.acts.answers import Answer, Refusal
from autotask.admin import show, viewing
from autotask.admin.acting import ActingAdmin, Button
from autotask.models import BackgroundWorker, TaskRecord
from autotask.store import background, background_read
from autotask.store.background_read import Instance, StoredBackground
from autotask.store.connection import current

REFUSAL_WORDS: dict[object, Any] = {
    Refusal.STARTED: _("already started"),
    Refusal.STOPPED: _("already stopped"),
    Refusal.NO_TRIGGER: _("not one that can be triggered"),
    Refusal.NOT_REGISTERED: _("no longer registered"),
    Refusal.IN_CODE: _("in the code of some worker, or was until lately"),
    Refusal.NOT_IN_CODE: _("not in the code of this process"),
}

#: The kinds that can be triggered.
TRIGGERED = ("event", "interval")


class BackgroundList(ChangeList):
    """One page of the list."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and with one more query the instances."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        attach(self.result_list)


class BackgroundAdmin(ActingAdmin):
    """Background workers."""

    noun = "backgroundworker"
    gone = _("The background worker is no longer registered.")

    list_display = ("title", "kind", "state", "where", "runs", "errors", "last_run", "last_error", "waiting")
    list_display_links = ("title",)
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("start", "stop", "trigger", "forget")
    fieldsets = (
        (None, {"fields": ("title", "kind", "queue", "state_in_full", "decision", "waiting", "messages")}),
        (_("Options in the code"), {"fields": ("options",)}),
        (_("Times"), {"fields": ("declared",)}),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that looks up the instances for the whole page."""
        return BackgroundList

    @admin.display(description=_("background worker"))
    def title(self, worker: BackgroundWorker) -> str:
        """Show the name."""
        return show.name(worker.name)

    @show.column(_("kind"))
    def kind(self, worker: BackgroundWorker) -> str:
        """Show the kind, and where there is one."""
        return format_html(
            '{}<div class="autotask-note">{}</div>', worker.kind, gettext("one per %(per)s") % {"per": worker.per}
        )

    @admin.display(description=_("state"))
    def state(self, worker: BackgroundWorker) -> str:
        """Show whether it runs, and why it has stopped by itself."""
        is_hosted = bool(_hosted(worker))
        if worker.wanted:
            if is_hosted:
                return show.pill(gettext("running"), "running")
            return show.pill(gettext("no host"), "lost", gettext("No running worker that may host it has room for it."))
        if is_hosted:
            return show.pill(gettext("stopping"), "ready")
        return show.pill(gettext("stopped"), "done", worker.ended)

    @show.column(_("where"))
    def where(self, worker: BackgroundWorker) -> str:
        """Show its hosts."""
        places = format_html_join("", "<div>{}:{}</div>", ((each.host, each.pid) for each in _hosted(worker)))
        return places or show.NOTHING

    @show.column(_("runs"))
    def runs(self, worker: BackgroundWorker) -> int:
        """Show how often it has run."""
        return sum(each.runs for each in stored_of(worker).instances)

    @show.column(_("errors"))
    def errors(self, worker: BackgroundWorker) -> int:
        """Show how many runs have raised an exception."""
        return sum(each.errors for each in stored_of(worker).instances)

    @show.column(_("last run"))
    def last_run(self, worker: BackgroundWorker) -> str:
        """Show when a run has ended."""
        return show.moment(_latest(each.last_run_at for each in stored_of(worker).instances))

    @show.column(_("last error"))
    def last_error(self, worker: BackgroundWorker) -> str:
        """Show the last line of the last traceback."""
        failed = [each for each in stored_of(worker).instances if each.last_error_at is not None]
        if not failed:
            return show.NOTHING
        last = max(failed, key=lambda each: each.last_error_at or datetime.min)
        words = last.last_error.strip().splitlines()[-1:] or [""]
        return format_html('<span title="{}">{}</span> {}', last.last_error, words[0], show.moment(last.last_error_at))

    @show.column(_("waiting"))
    def waiting(self, worker: BackgroundWorker) -> str:
        """Show how many values and triggers wait, with a link to them."""
        count = stored_of(worker).waiting
        return self.link_to_tasks(str(count), task=background.PREFIX + worker.name) if count else show.NOTHING

    # --- one background worker --------------------------------------------------------------------------------------

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the background worker with its instances."""
        worker = super().get_object(request, object_id, from_field)
        if worker is not None:
            attach([worker])
        return worker

    def page_context(self, request: HttpRequest, obj: BackgroundWorker) -> dict[str, Any]:
        """Return the instances of the background worker, and which buttons the user may press."""
        is_gone = stored_of(obj).is_gone and not _hosted(obj)
        return {
            "instances": [_shown(each) for each in stored_of(obj).instances],
            "can_start": self.has_start_permission(request) and not obj.wanted,
            "can_stop": self.has_stop_permission(request) and obj.wanted,
            "can_trigger": self.has_trigger_permission(request) and obj.kind in TRIGGERED,
            "can_forget": self.has_stop_permission(request) and is_gone,
        }

    @admin.display(description=_("state"))
    def state_in_full(self, worker: BackgroundWorker) -> str:
        """Show whether it runs, and why it has stopped by itself."""
        return format_html("{} {}", self.state(worker), worker.ended)

    @admin.display(description=_("decided by"))
    def decision(self, worker: BackgroundWorker) -> str:
        """Show who says whether it should run."""
        if not worker.decided:
            return gettext("the code")
        if worker.ended:
            return gettext("its function")
        words = gettext("a call of start()") if worker.setup is not None else gettext("a call, a command or this site")
        return gettext("%(who)s: this lasts, through deployments") % {"who": words}

    @admin.display(description=_("messages"))
    def messages(self, worker: BackgroundWorker) -> str:
        """Show links to the values and triggers that are stored."""
        if self.tasks_address() is None or not viewing.may_open(TaskRecord):
            return show.NOTHING
        name = background.PREFIX + worker.name
        return format_html(
            "{} · {}",
            self.link_to_tasks(_("all"), task=name),
            self.link_to_tasks(_("failed"), task=name, state="error"),
        )

    @admin.display(description=_("options"))
    def options(self, worker: BackgroundWorker) -> str:
        """Show the options that the code of this process gives it."""
        declared: Any = getattr(registry.known(background.PREFIX + worker.name), "worker", None)
        if declared is None:
            return gettext("It is not in the code of this process.")
        given = (
            (each.name, getattr(declared.options, each.name))
            for each in dataclasses.fields(declared.options)
            if each.name not in ("kind", "o", "on_error_kwargs")
        )
        shown = ((name, value) for name, value in given if value not in (None, "", False))
        return format_html_join(
            "", "<div><code>{}</code> {}</div>", ((name, _in_words(value)) for name, value in shown)
        )

    @admin.display(description=_("declared"))
    def declared(self, worker: BackgroundWorker) -> str:
        """Show when a worker last declared that its code has it."""
        return show.exact_moment(worker.declared_at)

    # --- start, stop and trigger ------------------------------------------------------------------------------------

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Whether the user may start background workers."""
        return request.user.has_perm("autotask.start_backgroundworker")

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whether the user may stop background workers."""
        return request.user.has_perm("autotask.stop_backgroundworker")

    def has_trigger_permission(self, request: HttpRequest) -> bool:
        """Whether the user may trigger background workers."""
        return request.user.has_perm("autotask.trigger_backgroundworker")

    @admin.action(description=_("Start selected background workers"), permissions=["start"])
    def start(self, request: HttpRequest, workers: Iterable[BackgroundWorker]) -> None:
        """Start them, with the arguments of the code."""
        words = ngettext_lazy("%(number)d background worker is started.", "%(number)d are started.", "number")
        self._do(request, acts.start, workers, gettext("Started."), words)

    @admin.action(description=_("Stop selected background workers"), permissions=["stop"])
    def stop(self, request: HttpRequest, workers: Iterable[BackgroundWorker]) -> None:
        """Stop them after their current runs."""
        words = ngettext_lazy(
            "%(number)d background worker stops after its current run.", "%(number)d stop after their runs.", "number"
        )
        self._do(request, acts.stop, workers, gettext("Stopped."), words)

    @admin.action(description=_("Trigger selected background workers"), permissions=["trigger"])
    def trigger(self, request: HttpRequest, workers: Iterable[BackgroundWorker]) -> None:
        """Have them run once."""
        words = ngettext_lazy("%(number)d background worker is triggered.", "%(number)d are triggered.", "number")
        self._do(request, acts.trigger, workers, gettext("Triggered."), words)

    @admin.action(description=_("Forget selected background workers"), permissions=["stop"])
    def forget(self, request: HttpRequest, workers: Iterable[BackgroundWorker]) -> None:
        """Forget those that no code has now."""
        words = ngettext_lazy("%(number)d background worker is forgotten.", "%(number)d are forgotten.", "number")
        self._do(request, acts.forget, workers, gettext("Forgotten."), words)

    def buttons(self) -> Sequence[Button]:
        """Return the buttons: start, stop, trigger and forget."""
        return (
            Button("start", self.has_start_permission, self.start),
            Button("stop", self.has_stop_permission, self.stop),
            Button("trigger", self.has_trigger_permission, self.trigger),
            Button("forget", self.has_stop_permission, self.forget),
        )

    def _do(
        self,
        request: HttpRequest,
        act: Callable[..., list[Answer[str]]],
        workers: Iterable[BackgroundWorker],
        message: str,
        words: Any,
    ) -> None:
        workers = list(workers)
        answers = act([worker.name for worker in workers], self.log_for(request, message, workers))
        if done := sum(answer.is_done for answer in answers):
            self.message_user(request, words % {"number": done}, SUCCESS)
        for answer in answers:
            if answer.refused is not None:
                self.message_user(request, f"{answer.key}: {REFUSAL_WORDS[answer.refused]}", WARNING)


def attach(workers: Sequence[BackgroundWorker]) -> None:
    """Look up the instances of background workers, for :func:`stored_of`."""
    found = {stored.name: stored for stored in background_read.read(current())}
    for worker in workers:
        nothing = StoredBackground(
            *(worker.name, worker.kind, worker.per, worker.queue, worker.wanted, "", 0, False, worker.decided), ()
        )
        vars(worker)["stored"] = found.get(worker.name, nothing)


def stored_of(worker: BackgroundWorker) -> StoredBackground:
    """Return the instances of a background worker, which were looked up."""
    stored: StoredBackground = vars(worker)["stored"]
    return stored


def _hosted(worker: BackgroundWorker) -> list[Instance]:
    return [each for each in stored_of(worker).instances if each.worker_id is not None]


def _shown(each: Instance) -> dict[str, object]:
    place = f"{each.host}:{each.pid}"
    return {
        "where": place if each.worker_id is not None else gettext("nowhere, last %(place)s") % {"place": place},
        "since": show.moment(each.began_at),
        "runs": each.runs,
        "errors": each.errors,
        "last_run": show.moment(each.last_run_at),
        "failed": show.moment(each.last_error_at),
        "error": "".join(each.last_error.strip().splitlines()[-1:]),
        "traceback": show.preformatted(each.last_error),
    }


def _in_words(value: object) -> str:
    return getattr(value, "__qualname__", None) or str(value)


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
