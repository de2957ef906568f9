"""The part of a task's page that says what the task is about: its subject and its metadata."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _

from autotask import display
from autotask.admin import show, viewing
from autotask.models import TaskRecord


def fieldsets(record: TaskRecord | None, usual: Sequence[Any]) -> list[Any]:
    """Return the parts of the page of a task; what it is about has one of its own, if its call has said so."""
    if record is None or not usual:
        return list(usual)
    fields = [
        *([subject] if record.subject else []),
        *([metadata] if record.metadata else []),
    ]
    first, *others = usual
    return [first, *([(_("About"), {"fields": tuple(fields)})] if fields else []), *others]


@admin.display(description=_("subject"))
def subject(record: TaskRecord) -> str:
    """Show the subject, with links to its page and to all tasks about it."""
    assert record.subject is not None  # otherwise the field is not on the page
    _, tasks_address = vars(record)["addresses"]
    shown = show.link(_page_of(record.subject), record.subject)
    if tasks_address is None:
        return shown
    everything = f"{tasks_address}?{urlencode({'subject': record.subject})}"
    return format_html("{} · {}", shown, show.link(everything, gettext("all its tasks")))


@admin.display(description=_("metadata"))
def metadata(record: TaskRecord) -> str:
    """Show the metadata, with secrets masked as in arguments."""
    return show.preformatted(json.dumps(display.masked_values(record.metadata), indent=2, ensure_ascii=False))


def _page_of(subject: str) -> str | None:
    """Return the address of the object's page; None if there is none, or it may be the object of another tenant."""
    label, _, key = subject.partition(":")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None
    if not admin.site.is_registered(model) or not viewing.may_open(model):
        return None
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(quote(key),))
    except NoReverseMatch:  # The addresses have another site of the admin, or the key is empty.
        return None
