"""A view for sync and async servers alike: methods, callers, problems, and answers that wait for the end of a task."""

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.http import HttpRequest, HttpResponse

from autotask.api import asgi, reader, waiting
from autotask.api.auth import Caller, identify
from autotask.api.problems import Problem
from autotask.api.waiting import Pending
from autotask.store.errors import is_missing
from autotask.texts.lines import one_line

logger = logging.getLogger("autotask.api")


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller is known.

    :ivar waited: whether the caller has waited already.
    """

    request: HttpRequest
    caller: Caller
    waited: bool = False


Outcome = HttpResponse | Pending

R = TypeVar("R")

#: Seconds to pause on an event loop before a connection is tried again.
PAUSES = (0.1, 0.3, 1.0, 3.0)

#: Answers a request of one method; what it takes besides is in the address.
Handler = Callable[..., Outcome]


@markcoroutinefunction
def _marked() -> None:
    """Has the attributes by which Django recognises a coroutine function."""


class NotConnected(Exception):
    """There is no connection to the database."""


class _AllAliases:
    """Contains the alias of every database."""

    def __contains__(self, alias: object) -> bool:
        return True


class Endpoint:
    """A view. On an event loop it is a coroutine function, elsewhere a plain one.

    An async view on WSGI would cost a thread and an event loop for each request; a sync one on ASGI would hold a thread while
    the client waits. So it says what it is when it is asked, which Django does for each request.

    :param waits: whether an answer may be held.
    :param methods: the handlers by method. They are sync, and query the database.
    :ivar holds: the same as *waits*.
    """

    csrf_exempt = True  # Keys need no token; sessions are checked by identify().
    login_required = False  # for LoginRequiredMiddleware: it answers 401, and does not redirect
    # A transaction around the request would hide the end of the task that it waits for.
    _non_atomic_requests = _AllAliases()

    def __init__(self, *, waits: bool = False, **methods: Handler) -> None:
        self.holds = waits
        self._methods = methods
        if "GET" in methods:
            self._methods["HEAD"] = methods["GET"]
        self.__qualname__ = self.__name__ = "_".join(handler.__name__ for handler in dict.fromkeys(methods.values()))
        self.__doc__ = next(iter(methods.values())).__doc__

    def __getattr__(self, name: str) -> Any:
        """Have the marks of a coroutine function on an event loop."""
        if name in vars(_marked) and _on_event_loop():
            return vars(_marked)[name]
        raise AttributeError(name)

    def __call__(self, request: HttpRequest, **inputs: Any) -> Any:
        """Answer a request."""
        return self._answer_async(request, inputs) if _on_event_loop() else self._answer(request, inputs)

    def _answer(self, request: HttpRequest, inputs: dict[str, Any]) -> HttpResponse:
        outcome = self._begin(request, inputs)
        if not isinstance(outcome, Pending):
            return outcome
        waiting.wait(outcome)
        return _response(self._begin(request, inputs, waited=True))

    async def _answer_async(self, request: HttpRequest, inputs: dict[str, Any]) -> HttpResponse:
        hold = asgi.hold_of(request)
        if hold is not None and hold.error is not None:
            return _unavailable(request, hold.error)
        shares = self.holds and reader.serves(request)
        if shares:
            waiting.let_thread_go()
        waited = hold is not None and hold.over
        outcome = await self._begin_async(request, inputs, shares, waited)
        if not isinstance(outcome, Pending):
            return outcome
        if hold is not None:
            hold.pending = outcome
            return HttpResponse(status=202)  # nobody gets it
        waiting.let_thread_go()
        try:
            await waiting.ended(outcome)
        except waiting.NO_DATABASE as error:
            return _unavailable(request, error)
        return _response(await self._begin_async(request, inputs, shares, waited=True))

    async def _begin_async(self, request: HttpRequest, inputs: dict[str, Any], shares: bool, waited: bool) -> Outcome:
        """Begin as soon as a connection can be had: the server may be restarted, or take a while to end old ones."""
        begin = functools.partial(self._begin_connected, request, inputs, shares, waited)
        for pause in PAUSES:
            try:
                return await _in_thread(begin, shares)
            except NotConnected:
                await asyncio.sleep(pause)
        return await _in_thread(functools.partial(self._begin, request, inputs, waited), shares)

    def _begin_connected(self, request: HttpRequest, inputs: dict[str, Any], shares: bool, waited: bool) -> Outcome:
        """Begin to answer, and close the connection if the answer is held and no other request shares it.

        :raises NotConnected: there is no connection, so nothing has been done.
        """
        try:
            waiting.connect()
        except (OperationalError, InterfaceError) as error:
            raise NotConnected from error
        # From here on, nobody knows what was done when a connection breaks: a commit may have had no answer.
        outcome = self._begin(request, inputs, waited)
        if isinstance(outcome, Pending) and not shares:
            waiting.disconnect()
        return outcome

    def _begin(self, request: HttpRequest, inputs: dict[str, Any], waited: bool = False) -> Outcome:
        """Answer, or say what to wait for; after that, *waited*, answer."""
        try:
            handler = self._methods.get(request.method or "")
            if handler is None:
                return self._refuse_method(request)
            others = {name: value for name, value in inputs.items() if name != "public"}
            caller = identify(request, public=bool(inputs.get("public", False)), again=waited)
            return handler(Call(request, caller, waited), **others)
        except Problem as problem:
            return problem.response()
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            if isinstance(error, ProgrammingError) and not is_missing(error):
                raise
            return _unavailable(request, error)

    def _refuse_method(self, request: HttpRequest) -> HttpResponse:
        allowed = ", ".join((*self._methods, "OPTIONS"))
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": allowed})
        message = f"This address takes {allowed}."
        return Problem(405, "method_not_allowed", message, headers={"Allow": allowed}).response()


async def _in_thread(act: Callable[[], R], shares: bool) -> R:
    """Run an act in the thread for all that read, or in that of the request when it is its turn."""
    if shares:
        return await reader.read(act)
    async with waiting.turns.here():
        return await sync_to_async(act)()


def _response(outcome: Outcome) -> HttpResponse:
    assert isinstance(outcome, HttpResponse), "the caller has waited"
    return outcome


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("%s %s: the database cannot be used: %s", request.method, request.path, one_line(str(error), 300))
    return Problem(503, "unavailable", headers={"Retry-After": "5"}).response()
