"""The ``application`` for ASGI servers, and one without Django."""

from typing import Any

from django.core.asgi import get_asgi_application

application = get_asgi_application()


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """Wait until the client goes away; at other addresses, answer that there is nothing."""
    if scope["path"] != "/held/":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body"})
        return
    while (await receive())["type"] != "http.disconnect":
        pass
