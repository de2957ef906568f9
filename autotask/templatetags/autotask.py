"""``{% load autotask %}``: a progress bar that follows a task."""

import uuid
from typing import Any

from django import template
from django.core.handlers.asgi import ASGIRequest
from django.template import Context
from django.urls import NoReverseMatch, reverse

from autotask.api.progress.showing import shown
from autotask.api.progress.tokens import token_of
from autotask.exceptions import AddressesMissing
from autotask.handle import TaskHandle
from autotask.store.connection import current
from autotask.store.progress import seen

register = template.Library()

#: The line that a site adds to its addresses.
INCLUDE = 'path("progress/", include("autotask.api.progress"))'


@register.inclusion_tag("autotask/progress.html", takes_context=True)
def autotask_progress(
    context: Context, task: TaskHandle[Any] | uuid.UUID | str, label: str = "", reload: bool = False
) -> dict[str, Any]:
    """Show how far a task has come, and follow it until it has finished.

    The bar needs ``path("progress/", include("autotask.api.progress"))`` among the addresses of the site. Without JavaScript
    it shows what is so when the page is made.

    :param task: a handle, or the id of a task.
    :param label: what the bar is about, for screen readers; empty: "Progress".
    :param reload: whether to load the page again when the task has finished, for what the page then shows instead.
    :raises AddressesMissing: the addresses are not included.
    :raises InvalidOption: the id is no UUID. (A ValueError.)
    :raises InvalidOptionType: it is neither a handle nor an id. (A TypeError.)
    """
    id = task.id if isinstance(task, TaskHandle) else TaskHandle[Any](task).id
    token = token_of(id)
    try:
        url = reverse("autotask_progress:show", args=[token])
    except NoReverseMatch:
        raise AddressesMissing(what="{% autotask_progress %}", line=INCLUDE) from None
    streams = isinstance(context.get("request"), ASGIRequest)
    return {
        "shown": shown(seen(current(), [id]).get(id)),
        "url": url,
        "stream": reverse("autotask_progress:stream", args=[token]) if streams else "",
        "label": label,
        "reload": reload,
    }
