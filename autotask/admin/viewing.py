"""The user for whom a page is made: columns of lists do not get the request, and link only to pages that this user may open."""

from contextvars import ContextVar
from typing import Any

from django.db.models import Model
from django.http import HttpRequest

_user: ContextVar[Any] = ContextVar("autotask_viewer", default=None)


def note(request: HttpRequest) -> None:
    """Remember the user of this request until the thread handles the next one."""
    _user.set(request.user)


def may_open(model: type[Model]) -> bool:
    """Whether this user may open the pages of the objects of a model."""
    meta, user = model._meta, _user.get()
    return user is not None and any(
        user.has_perm(f"{meta.app_label}.{act}_{meta.model_name}") for act in ("view", "change")
    )
