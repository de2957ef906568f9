"""The ``application`` for ASGI servers."""

import os

from django.core.asgi import get_asgi_application

from autotask.api.asgi import hold_waits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")

application = hold_waits(get_asgi_application())
