"""The first request that a process answers, as the moment at which to do something."""

import time
from collections.abc import Callable
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started


def call(what: Callable[[], object], *, wait: float = 0.0) -> None:
    """Call something once in this process, and once in each fork of it that has not done so before, when it serves.

    :param what: is called within a request, so it must be quick and never raise.
    :param wait: requests within so many seconds from now do not count.
    """
    not_before = time.monotonic() + wait

    def on_request(sender: object, **_: Any) -> None:
        # A server has built one of these. The client of Django's tests has handlers of its own.
        serves = isinstance(sender, type) and issubclass(sender, (WSGIHandler, ASGIHandler))
        # Of several first requests at a time, one only finds it connected still.
        if serves and time.monotonic() >= not_before and request_started.disconnect(on_request):
            what()

    request_started.connect(on_request, weak=False)
