"""Pages with buttons: each does one act to the object of its page, and returns to the page."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext

from autotask.acts.answers import Log
from autotask.admin.readonly import ReadOnlyAdmin


class Button(NamedTuple):
    """A button on the page of one task or schedule.

    :ivar word: the act, as the last part of the address.
    :ivar permitted: whether the user of a request may press it.
    :ivar act: does it, and shows a message.
    :ivar deletes: whether the object is gone afterwards.
    """

    word: str
    permitted: Callable[[HttpRequest], bool]
    act: Callable[[HttpRequest, Sequence[Any]], object]
    deletes: bool = False


class ActingAdmin(ReadOnlyAdmin):
    """Pages that change nothing themselves: acts do.

    :cvar noun: the kind of object, in the names of addresses.
    :cvar gone: the message if the object no longer exists.
    """

    noun: str
    gone: str | Promise

    def buttons(self) -> Sequence[Button]:
        """Return the buttons."""
        raise NotImplementedError

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """Return the context of an object's page, besides the form."""
        raise NotImplementedError

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Show an object, or the form for a new one."""
        if obj is not None:
            context |= self.page_context(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the buttons."""
        own = [
            path(
                f"<path:object_id>/{button.word}/",
                self.admin_site.admin_view(partial(self._press, button=button)),
                name=f"autotask_{self.noun}_{button.word}",
            )
            for button in self.buttons()
        ]
        return own + super().get_urls()

    def log_for(self, request: HttpRequest, message: str, objects: Iterable[Model]) -> Log[Any]:
        """Return a log that writes a message to the history of those objects whose keys an act passes."""
        by_key = {each.pk: each for each in objects}

        def log(keys: Sequence[Any]) -> None:
            if keys:
                assert request.user.pk is not None  # the user is logged in
                LogEntry.objects.log_actions(request.user.pk, [by_key[key] for key in keys], CHANGE, message)

        return log

    def _press(self, request: HttpRequest, object_id: str, button: Button) -> HttpResponse:
        if request.method == "GET":
            # A button leads here by way of the login if the session was over.
            self.message_user(request, gettext("Nothing was done. Press the button again."), messages.WARNING)
            return HttpResponseRedirect(self._address("change", unquote(object_id)))
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not button.permitted(request):
            raise PermissionDenied
        shown = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, shown):
            raise PermissionDenied
        if shown is None:
            self.message_user(request, str(self.gone), messages.WARNING)
            return HttpResponseRedirect(self._address("changelist"))
        button.act(request, [shown])
        if button.deletes and self.get_object(request, unquote(object_id)) is None:
            return HttpResponseRedirect(self._address("changelist"))
        return HttpResponseRedirect(self._address("change", shown.pk))

    def _address(self, page: str, *key: Any) -> str:
        return reverse(f"admin:autotask_{self.opts.model_name}_{page}", args=key, current_app=self.admin_site.name)
