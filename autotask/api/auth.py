"""Callers and their rights: API keys as bearer tokens, and Django's sessions with its permissions."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.debug import sensitive_variables

from autotask.acts import keys
from autotask.api import tokens
from autotask.api.problems import Refused
from autotask.conf import settings
from autotask.scopes import Scope

#: The permission of a user for each act. Nobody pulls with a session.
PERMISSIONS = {
    "submit": "autotask.submit_task",
    "read": "autotask.view_taskrecord",
    "cancel": "autotask.cancel_task",
    "retry": "autotask.retry_task",
    "discard": "autotask.discard_task",
    "traceback": "autotask.view_taskrecord",
    "metadata": "autotask.view_taskrecord",
}

#: The rights that everybody has where an include or a view says ``public=True``.
PUBLIC_ACTIONS = ("submit", "read", "cancel", "retry")

#: The id of callers without key and session.
PUBLIC = "public"

#: The methods that change nothing, for which Django asks for no token either.
SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody or something that calls.

    :ivar id: the same for all requests of one key or user: ``key:7``, ``user:3`` or ``public``.
    :ivar name: for logs.
    """

    id: str
    name: str
    _may: Callable[[str, str], bool]

    def may(self, action: str, name: str = "") -> bool:
        """Whether the caller may do something with the tasks of a name; "" stands for those of any name.

        For a user, the first question queries the database.
        """
        return self._may(action, name)


def authorize(request: HttpRequest, action: str, name: str = "", *, public: bool = False) -> Caller:
    """Return the caller of a request that may do something with the tasks of a name.

    :param action: one of "submit", "read", "cancel", "retry", "discard", "traceback", "metadata" and
        "pull".
    :param name: the name of a task; "": the caller must be allowed for some name, and the view looks at each.
    :param public: everybody may do it who sends no key. The author of a view has to write this out.
    :raises Refused: 401 without a valid key or session, 403 if it does not allow this, 429 after too many wrong keys or
        requests.
    """
    caller = identify(request, public=public)
    demand(caller, action, name)
    return caller


async def aauthorize(request: HttpRequest, action: str, name: str = "", *, public: bool = False) -> Caller:
    """Like :func:`authorize`, from a coroutine."""
    return await sync_to_async(authorize)(request, action, name, public=public)


def identify(request: HttpRequest, *, public: bool = False, again: bool = False) -> Caller:
    """Return the caller of a request, whatever they may do.

    :param again: the request was counted before.
    :raises Refused: 401, or 429, see :func:`authorize`; 403 for a session without CSRF token.
    """
    caller = _by_key(request) or _by_session(request)
    if caller is None and public:
        caller = Caller(PUBLIC, "anybody", lambda action, name: action in PUBLIC_ACTIONS)
    if caller is None:
        raise _unauthenticated("Send a key as Authorization: Bearer …, or log in.")
    if not again:
        _refuse_too_many(caller, _address(request))
    return caller


def demand(caller: Caller, action: str, name: str = "") -> None:
    """Refuse a caller that may not do something with the tasks of a name.

    :raises Refused: 403.
    """
    if not caller.may(action, name):
        what = f"{action}:{name}" if name else action
        raise Refused(403, "forbidden", f"This takes the scope or the permission {what}.")


def is_with_key(request: HttpRequest) -> bool:
    """Whether a request has a key, right or wrong, so that nobody looks at its session."""
    return _authorization(request)[0] == "bearer"


@sensitive_variables()
def _by_key(request: HttpRequest) -> Caller | None:
    """Return the caller with the key of a request; None if it has none."""
    scheme, text = _authorization(request)
    if scheme != "bearer":
        return None
    address = _address(request)
    wait = tokens.wrong_keys.wait(address, settings.API_WRONG_KEYS)
    if wait and not keys.was_right(text):
        raise _too_many("Too many wrong keys came from this address.", wait)
    key = keys.verified(text)
    if key is None:
        tokens.wrong_keys.take(address, settings.API_WRONG_KEYS)
        raise _unauthenticated("The key is wrong, expired or revoked.")
    return _with_key(key.id, key.name, key.scopes)


@sensitive_variables()
def _authorization(request: HttpRequest) -> tuple[str, str]:
    # Not request.headers, which the request would keep while the client waits.
    scheme, _, text = str(request.META.get("HTTP_AUTHORIZATION", "")).strip().partition(" ")
    return scheme.lower(), text.strip()


@functools.lru_cache(keys.MOST_RECENT)
def _with_key(id: int, name: str, texts: tuple[str, ...]) -> Caller:
    """Return the caller that has a key; all its requests share it."""
    scopes = tuple(map(Scope.of, texts))
    return Caller(f"key:{id}", name, lambda action, name: any(scope.allows(action, name) for scope in scopes))


def _by_session(request: HttpRequest) -> Caller | None:
    """Return the caller that is logged in; None if nobody is."""
    user = getattr(request, "user", None)  # set by a middleware that the site may not have
    if user is None or not user.is_authenticated:
        return None
    if request.method not in SAFE and not _has_csrf_token(request):
        raise Refused(403, "csrf", "A request with a session needs Django's CSRF token in the header X-CSRFToken.")

    def may(action: str, name: str) -> bool:
        return action in PERMISSIONS and bool(user.has_perm(PERMISSIONS[action]))

    return Caller(f"user:{user.pk}", user.get_username(), may)


def _has_csrf_token(request: HttpRequest) -> bool:
    # The views are exempt from that middleware, since keys need no token; so it is asked here.
    check = CsrfViewMiddleware(_empty)
    check.process_request(request)
    return check.process_view(request, _empty, (), {}) is None


def _empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _refuse_too_many(caller: Caller, address: str) -> None:
    most = settings.API_RATE
    if most is None:
        return
    wait = tokens.requests.take(caller.id if caller.id != PUBLIC else f"{PUBLIC} {address}", most)
    if wait:
        raise _too_many(f"More than {most} requests in a minute.", wait)


def _address(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR") or "")


def _unauthenticated(message: str) -> Refused:
    return Refused(401, "unauthenticated", message, headers={"WWW-Authenticate": 'Bearer realm="autotask"'})


def _too_many(message: str, wait: float) -> Refused:
    return Refused(429, "too_many_requests", message, headers={"Retry-After": str(math.ceil(wait))})
