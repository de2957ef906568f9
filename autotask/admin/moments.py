"""The field of a form for a moment: a date and a time, each with its label for those who cannot see the page."""

from typing import Any

from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils.translation import gettext_lazy as _


class DateAndTime(AdminSplitDateTime):
    """That of the admin; in Django 5.2 its parts have no labels."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        for widget, label in zip(self.widgets, (_("Date"), _("Time")), strict=True):
            widget.attrs["aria-label"] = label
