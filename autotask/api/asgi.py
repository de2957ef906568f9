"""Hold the answers of ``?wait=`` outside Django: while a client waits, there is no request, no response and no middleware.

Django asks this module whether an answer may be held here, and says for what. So it answers twice: that it has to wait, which
goes no further, and once it is over. What Django says then is the answer, whatever has changed meanwhile.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from autotask.api.turns import Turns

if TYPE_CHECKING:  # asgi.py of a site imports this module before there are settings
    from django.http import HttpRequest

    from autotask.api.waiting import Pending

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: The paths of tasks and results. Others, whose requests may take long, get through untouched.
_PATH = re.compile(r"/[0-9a-f-]{36}/(result/?)?$", re.IGNORECASE)

#: The methods of requests that may wait.
_METHODS = ("GET", "HEAD")

#: So many requests to the API are inside Django at a time before they are held. When a thousand clients came at once, all of their requests
#: would be in memory at a time, and the process would keep that memory.
AT_A_TIME = 20

#: The key of the scope with the hold of a request.
_KEY = "autotask.hold"


class Hold:
    """Whether and for what the answer of a request is held.

    :ivar pending: what the client waits for.
    :ivar over: whether it has waited.
    :ivar error: why it could not wait.
    """

    __slots__ = ("error", "over", "pending")

    def __init__(self) -> None:
        self.pending: Pending | None = None
        self.over = False
        self.error: Exception | None = None


def hold_of(request: "HttpRequest") -> Hold | None:
    """Return the hold of a request; None if it has to wait inside Django."""
    hold = getattr(request, "scope", {}).get(_KEY)
    return hold if isinstance(hold, Hold) else None


def hold_waits(application: Application) -> Application:
    """Return an ASGI application that holds the answers of ``?wait=`` for *application*, the one of Django.

    While a client waits, there is no request, and no middleware holds a thread. Such a request passes the middleware twice:
    when it comes, and when it is answered.
    """

    turns = Turns(AT_A_TIME)

    async def holding(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if not _may_wait(scope):
            await application(scope, receive, send)
            return
        client, hold = _Client(receive), Hold()
        try:
            async with turns.here() if _is_of_api(scope) else contextlib.nullcontext():
                await application({**scope, _KEY: hold}, client.receive, _unless_held(hold, send))
            if hold.pending is not None and await client.waits(hold):
                await application({**scope, _KEY: hold}, client.again(), send)
        finally:
            client.close()

    return holding


def _may_wait(scope: MutableMapping[str, Any]) -> bool:
    if scope["type"] != "http" or b"wait=" not in scope.get("query_string", b""):
        return False
    return scope["method"] in _METHODS and _PATH.search(scope["path"]) is not None


def _is_of_api(scope: MutableMapping[str, Any]) -> bool:
    """Whether ROOT_URLCONF sends a request to the API. If it does not, a middleware may: then its answer is held all the same."""
    from django.conf import settings
    from django.urls import resolve

    prefix = settings.FORCE_SCRIPT_NAME or scope.get("root_path", "")
    try:
        view = resolve(scope["path"].removeprefix(prefix)).func
    except Exception:  # There is no such address, or no URLconf can be imported: Django says so.
        return False
    return bool(getattr(view, "holds", False))


def _unless_held(hold: Hold, send: Send) -> Send:
    async def send_on(message: Message) -> None:
        if hold.pending is None:
            await send(message)

    return send_on


class _Client:
    """The messages from a client: its request, and later that it has left. A server is asked for that once only."""

    __slots__ = ("_body", "_leaves", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._body: Receive | None = receive
        self._leaves: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        """Return the next message, for Django."""
        if self._body is None:
            return await asyncio.shield(self._leaving())
        message = await self._body()
        if not message.get("more_body", False):
            self._body = None
        return message

    def again(self) -> Receive:
        """Return a function from which Django receives the same request again; it had no body that matters."""
        self._body = _empty_body
        return self.receive

    async def waits(self, hold: Hold) -> bool:
        """Wait for what Django has named, and return whether the client is still there."""
        from autotask.api import waiting

        assert hold.pending is not None
        leaves = self._leaving()
        try:
            await waiting.ended(hold.pending, leaves)
        except waiting.NO_DATABASE as error:
            hold.error = error
        hold.over = True
        return not leaves.done()

    def close(self) -> None:
        """Ask the server no more."""
        if self._leaves is not None:
            self._leaves.cancel()

    def _leaving(self) -> asyncio.Task[Message]:
        if self._leaves is None:
            self._leaves = asyncio.ensure_future(self._receive())
        return self._leaves


async def _empty_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
