"""The ``application`` for ASGI servers, Django by itself, and an application without Django."""

from typing import Any

from django.core.asgi import get_asgi_application

from autotask.api.asgi import hold_waits

inside = get_asgi_application()
application = hold_waits(inside)


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """Wait until the client goes away; at other addresses, answer that there is nothing."""
    if scope["path"] != "/held/":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body"})
        return
    while (await receive())["type"] != "http.disconnect":
        pass
