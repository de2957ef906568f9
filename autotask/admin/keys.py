"""The pages of the keys of the HTTP API: to create, to list and to revoke them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy as _, ngettext

from autotask.acts import keys
from autotask.admin import show
from autotask.admin.acting import ActingAdmin, Button
from autotask.admin.moments import DateAndTime
from autotask.admin.readonly import ModelAdmin
from autotask.exceptions import InvalidKey
from autotask.models import ApiKey
from autotask.scopes import ACTIONS, scopes_of
from autotask.values import PLAIN_NAME

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[ApiKey]
else:
    ModelForm = forms.ModelForm  # cannot be subscripted at run time

#: The fields of the form.
ASKED = ("name", "allowed", "expires_at")


def may_issue(request: HttpRequest) -> bool:
    """Whether the user may create and revoke keys."""
    return request.user.has_perm("autotask.issue_keys")


class KeyForm(ModelForm):
    """The form of a new key."""

    name = forms.RegexField(
        rf"^{PLAIN_NAME.pattern}\Z",
        max_length=200,
        label=_("Name"),
        help_text=_("Letters, digits and _ . : < > -"),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    allowed = forms.CharField(
        label=_("Scopes"),
        help_text=format_lazy(
            _("One a line: {actions}, and the names of tasks, like submit:shop.tasks.* or read:*"),
            actions=", ".join(ACTIONS),
        ),
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
    )
    expires_at = forms.SplitDateTimeField(
        required=False, label=_("Expires"), help_text=_("Empty: never."), widget=DateAndTime()
    )

    def clean_name(self) -> str:
        """Refuse the name of another valid key."""
        name = str(self.cleaned_data["name"])
        if any(key.name == name and key.is_valid for key in keys.all_keys()):
            raise forms.ValidationError(gettext("There is a valid key of this name."))
        return name

    def clean_allowed(self) -> list[str]:
        """Refuse what is no scope."""
        try:
            return [str(scope) for scope in scopes_of(self.cleaned_data["allowed"].split())]
        except InvalidKey as error:
            raise forms.ValidationError(error.facts["problem"]) from error

    def clean_expires_at(self) -> Any:
        """Refuse an end that is over."""
        end = self.cleaned_data["expires_at"]
        end = timezone.make_aware(end) if end and timezone.is_naive(end) else end
        if end and end <= timezone.localtime():
            raise forms.ValidationError(gettext("This moment is over already."))
        return end

    def _get_validation_exclusions(self) -> set[str]:
        # The database answers with a constraint that knows when a key has expired.
        return {*super()._get_validation_exclusions(), "name"}  # type: ignore[misc]  # the stubs do not know it


class KeyAdmin(ActingAdmin):
    """The keys of the HTTP API."""

    noun = "key"
    gone = _("There is no such key any more.")

    list_display = ("title", "allows", "made", "end", "used", "condition")
    list_display_links = ("title",)
    list_filter = ()
    ordering = ("-id",)
    actions = ("revoke",)
    fieldsets = ((None, {"fields": ("title", "allows", "made", "end", "used", "condition")}),)

    # --- what is shown ----------------------------------------------------------------------------------------------

    @admin.display(description=_("name"))
    def title(self, key: ApiKey) -> str:
        """Show the name."""
        return key.name

    @show.column(_("scopes"))
    def allows(self, key: ApiKey) -> str:
        """Show the scopes."""
        return ", ".join(key.scopes)

    @show.column(_("created"))
    def made(self, key: ApiKey) -> str:
        """Show when it was created."""
        return show.moment(key.created_at)

    @show.column(_("expires"))
    def end(self, key: ApiKey) -> str:
        """Show until when it is valid."""
        return gettext("never") if key.expires_at is None else show.moment(key.expires_at)

    @show.column(_("last used"))
    def used(self, key: ApiKey) -> str:
        """Show when it was last used, to the minute."""
        return gettext("never") if key.used_at is None else show.moment(key.used_at)

    @admin.display(description=_("state"))
    def condition(self, key: ApiKey) -> str:
        """Show whether it is valid."""
        if key.revoked_at is not None:
            return format_html("{} {}", gettext("revoked"), show.moment(key.revoked_at))
        return gettext("valid") if _is_valid(key) else gettext("expired")

    # --- create -----------------------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether the user may create a key."""
        return may_issue(request)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask for what is needed, or show what there is."""
        return super().get_fieldsets(request, obj) if obj else ((None, {"fields": ASKED}),)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form of a new key, or one without fields."""
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        return ModelAdmin.get_form(self, request, obj, change, **{**kwargs, "form": KeyForm, "fields": ("name",)})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Create it."""
        given = form.cleaned_data
        made = keys.create(given["name"], given["allowed"], given["expires_at"])
        obj.pk, obj.secret = made.id, made.secret

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key: this page is the only place where it is ever shown."""
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Key %(name)s") % {"name": obj.name},
            "secret": obj.secret,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "admin/autotask/apikey/made.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    # --- revoke -----------------------------------------------------------------------------------------------------

    def has_issue_permission(self, request: HttpRequest) -> bool:
        """Whether the user may create and revoke keys."""
        return may_issue(request)

    @admin.action(description=_("Revoke selected"), permissions=["issue"])
    def revoke(self, request: HttpRequest, chosen: Iterable[ApiKey]) -> None:
        """Refuse all further requests with the keys."""
        valid = [key for key in chosen if key.revoked_at is None]
        log = self.log_for(request, gettext("Revoked."), valid)
        revoked = sum(keys.revoke(key.name, log) for key in valid)
        words = ngettext(
            "%(number)d key is revoked. Within a second, all processes of the site refuse it.",
            "%(number)d keys are revoked. Within a second, all processes of the site refuse them.",
            revoked,
        )
        self.message_user(request, words % {"number": revoked}, messages.SUCCESS if revoked else messages.WARNING)

    def buttons(self) -> Sequence[Button]:
        """Return the button on the page of a key."""
        return (Button("revoke", may_issue, self.revoke),)

    def page_context(self, request: HttpRequest, obj: ApiKey) -> dict[str, Any]:
        """Return whether the user may press the button."""
        return {"can_revoke": obj.revoked_at is None and may_issue(request)}


def _is_valid(key: ApiKey) -> bool:
    return key.expires_at is None or key.expires_at > timezone.now()
