"""Do something at the first request that a process answers."""

import time
from collections.abc import Callable
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started


def call(what: Callable[[], object], *, wait: float = 0.0) -> None:
    """Call something at the first request: once in this process, and once in each fork made before that.

    :param what: called within a request, so it must be quick and never raise.
    :param wait: requests in the next *wait* seconds do not count.
    """
    not_before = time.monotonic() + wait

    def on_request(sender: object, **_: Any) -> None:
        # Servers build one of these. The client of Django's tests has handlers of its own.
        serves = isinstance(sender, type) and issubclass(sender, (WSGIHandler, ASGIHandler))
        # Of several first requests at the same time, only one still finds it connected.
        if serves and time.monotonic() >= not_before and request_started.disconnect(on_request):
            what()

    request_started.connect(on_request, weak=False)
