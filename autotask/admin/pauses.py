"""The pages of pauses: what is paused, since when, by whom, why and until when; to pause and to resume."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _, ngettext

from autotask.acts import pausing
from autotask.acts.doubts import Doubt
from autotask.admin import show
from autotask.admin.acting import ActingAdmin, Button
from autotask.admin.moments import DateAndTime
from autotask.admin.readonly import ModelAdmin
from autotask.exceptions import InvalidPause
from autotask.models import Pause
from autotask.store.pauses import Kind

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Pause]
else:
    ModelForm = forms.ModelForm  # cannot be subscripted at run time

KIND_WORDS = {
    Kind.QUEUE: _("queue"),
    Kind.TASK: _("task"),
    Kind.LIMIT: _("limit"),
    Kind.EVERYTHING: _("everything"),
}

#: The fields of the form.
ASKED = ("kind", "name", "until", "reason")


def may_pause(request: HttpRequest) -> bool:
    """Whether the user may pause and resume tasks."""
    return request.user.has_perm("autotask.pause_tasks")


def target(kind: str, name: str) -> dict[str, Any]:
    """Return the keywords of an act for a kind and a name."""
    return {"everything": True} if kind == Kind.EVERYTHING else {kind: name}


class PauseForm(ModelForm):
    """The form of a new pause."""

    kind = forms.ChoiceField(choices=list(KIND_WORDS.items()), label=_("Kind"))
    name = forms.CharField(
        required=False,
        label=_("Name"),
        help_text=_(
            "Of a queue, a task, or a limit, like openai, or shop.tasks.sync(account_id=7). Empty for everything."
        ),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    until = forms.SplitDateTimeField(
        required=False, label=_("Until"), help_text=_("Empty: until it is resumed."), widget=DateAndTime()
    )
    reason = forms.CharField(
        required=False, label=_("Reason"), max_length=1000, widget=forms.TextInput(attrs={"class": "vTextField"})
    )

    def _get_validation_exclusions(self) -> set[str]:
        # Django 5.2 validates constraints although clean() does not ask for it; a pause may be there already.
        return {*super()._get_validation_exclusions(), "kind", "name"}  # type: ignore[misc]  # the stubs do not know it

    def clean(self) -> dict[str, Any]:
        """Refuse a name that does not fit, and an end that is over. Something that is paused may be paused again."""
        cleaned, until = self.cleaned_data, self.cleaned_data.get("until")
        if "kind" not in cleaned or "name" not in cleaned:
            return cleaned
        if cleaned["kind"] == Kind.EVERYTHING and cleaned["name"]:
            raise forms.ValidationError({"name": gettext("Leave it empty: everything has no name.")})
        try:
            pausing.target(**target(cleaned["kind"], cleaned["name"]))
        except InvalidPause as error:
            raise forms.ValidationError({"name": error.facts["problem"]}) from error
        try:
            pausing.end_of(timezone.make_aware(until) if until and timezone.is_naive(until) else until)
        except InvalidPause as error:
            raise forms.ValidationError({"until": error.facts["problem"]}) from error
        return cleaned


class PauseAdmin(ActingAdmin):
    """Paused queues, tasks and limits."""

    noun = "pause"
    gone = _("It is no longer paused.")

    list_display = ("what", "since", "who", "end", "why")
    list_display_links = ("what",)
    list_filter = ()
    ordering = ("kind", "name")
    actions = ("resume",)
    fieldsets = ((None, {"fields": ("what", "since_exactly", "who", "end_exactly", "why")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave out the pauses whose time is over, which workers have yet to delete."""
        return super().get_queryset(request).filter(Q(until__isnull=True) | Q(until__gt=Now()))

    # --- what is shown ----------------------------------------------------------------------------------------------

    @admin.display(description=_("paused"))
    def what(self, pause: Pause) -> str:
        """Show the kind and the name."""
        return show.breakable(f"{KIND_WORDS[Kind(pause.kind)]} {pause.name}".strip())

    @show.column(_("since"))
    def since(self, pause: Pause) -> str:
        """Show how long ago it began."""
        return show.moment(pause.paused_at)

    @admin.display(description=_("since"))
    def since_exactly(self, pause: Pause) -> str:
        """Show when it began."""
        return show.exact_moment(pause.paused_at)

    @show.column(_("by"))
    def who(self, pause: Pause) -> str:
        """Show who has paused it."""
        return pause.paused_by or show.NOTHING

    @show.column(_("until"))
    def end(self, pause: Pause) -> str:
        """Show in how long it ends."""
        return gettext("it is resumed") if pause.until is None else show.moment(pause.until)

    @admin.display(description=_("until"))
    def end_exactly(self, pause: Pause) -> str:
        """Show when it ends."""
        return gettext("it is resumed") if pause.until is None else show.exact_moment(pause.until)

    @show.column(_("reason"))
    def why(self, pause: Pause) -> str:
        """Show the reason."""
        return pause.reason or show.NOTHING

    def page_context(self, request: HttpRequest, obj: Pause) -> dict[str, Any]:
        """Return whether the user may press the button."""
        return {"can_resume": may_pause(request)}

    # --- pause ------------------------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause something."""
        return may_pause(request)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask for what is needed, or show what there is."""
        return super().get_fieldsets(request, obj) if obj else ((None, {"fields": ASKED}),)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form of a new pause, or one without fields."""
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        return ModelAdmin.get_form(self, request, obj, change, **{**kwargs, "form": PauseForm, "fields": ASKED})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Pause it."""

        def keep_key(keys: Sequence[int]) -> None:
            (obj.pk,) = keys

        until = obj.until and (timezone.make_aware(obj.until) if timezone.is_naive(obj.until) else obj.until)
        who = request.user.get_username()
        what = target(obj.kind, obj.name)
        doubt = pausing.pause_quietly(**what, until=until, reason=obj.reason, by=who, log=keep_key)
        if doubt is not None:
            self.message_user(request, _in_words(doubt), messages.WARNING)

    # --- resume -----------------------------------------------------------------------------------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether the user may pause and resume tasks."""
        return may_pause(request)

    @admin.action(description=_("Resume selected"), permissions=["pause"])
    def resume(self, request: HttpRequest, pauses: Iterable[Pause]) -> None:
        """End the pauses."""
        log = self.log_for(request, gettext("Resumed."), pauses)
        resumed = sum(pausing.resume(**target(pause.kind, pause.name), log=log) for pause in pauses)
        words = ngettext("%(number)d pause has ended.", "%(number)d pauses have ended.", resumed)
        self.message_user(request, words % {"number": resumed}, messages.SUCCESS if resumed else messages.WARNING)

    def buttons(self) -> Sequence[Button]:
        """Return the button on the page of a pause."""
        return (Button("resume", may_pause, self.resume, deletes=True),)


def _in_words(doubt: Doubt) -> str:
    if doubt.kind is Kind.TASK:
        said = gettext("No task in the code of this process has the name %(name)s.")
    else:
        said = gettext("No limit or rate in the code and settings of this process has the name %(name)s.")
    said %= {"name": doubt.name}
    if doubt.similar:
        said += " " + gettext("Did you mean %(names)s?") % {"names": ", ".join(doubt.similar)}
    return said
