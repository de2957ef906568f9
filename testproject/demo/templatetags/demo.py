"""Filters of the demo's pages."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html

register = template.Library()

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@register.filter
def ago(moment: datetime) -> str:
    """Return how long ago a moment was, such as "4 s ago", as an element that ago.js keeps up to date."""
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    return format_html('<time datetime="{}">{} {} ago</time>', moment.isoformat(), seconds // size, unit)
