"""The demo, as a Django app."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    """A small app with one task of every kind."""

    name = "demo"
    default_auto_field = "django.db.models.BigAutoField"
