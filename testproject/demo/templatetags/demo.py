"""Filters of the demo's pages."""

from datetime import datetime

from django import template
from django.utils import timezone

register = template.Library()

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@register.filter
def ago(moment: datetime) -> str:
    """Return how long ago a moment was, such as "4 s ago"."""
    seconds = max(0, int((timezone.now() - moment).total_seconds()))
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= size), UNITS[-1])
    return f"{seconds // size} {unit} ago"
