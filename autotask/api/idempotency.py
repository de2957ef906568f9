"""``Idempotency-Key``: a request that is sent again makes no second task, also in another process at the same moment."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

from autotask.api.auth import Caller
from autotask.api.problems import Problem
from autotask.conf import settings
from autotask.handle import TaskHandle
from autotask.store import idempotency as store
from autotask.store.connection import current, in_transaction

_FORM = re.compile(r"[\x21-\x7e]{1,255}")

Handle = TaskHandle[Any]


class _Taken(Exception):
    """Another transaction has the key: nothing of this one may stay."""


def key_of(request: HttpRequest) -> str | None:
    """Return the idempotency key of a request; None if it has none.

    :raises Problem: 400 if it cannot be one.
    """
    # Not request.headers, which copies all headers.
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _FORM.fullmatch(key):
        raise Problem(
            400, "bad_request", "Idempotency-Key must have 1 to 255 printable characters of ASCII, no spaces."
        )
    return key


def once(caller: Caller, key: str, request: Any, make: Callable[[], Handle]) -> Handle:
    """Return the handle of the task that this request has made, or an earlier one with the same key.

    :param request: what has to be the same, as JSON has it.
    :param make: stores the task.
    :raises Problem: 409 if the key was used with another request.
    """
    connection = current()
    fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    if (known := _earlier(caller, key, fingerprint)) is not None:
        return known

    def make_and_keep() -> Handle:
        handle = make()
        if not store.keep(connection, caller.id, key, fingerprint, handle.id, settings.API_IDEMPOTENCY_TTL):
            raise _Taken
        return handle

    try:
        return in_transaction(connection, make_and_keep)
    except _Taken:
        known = _earlier(caller, key, fingerprint)
        if known is None:  # It was remembered for so short a time that it is forgotten again.
            raise Problem(409, "idempotency_mismatch", "Another request had the same key at the same moment.") from None
        return known


def _earlier(caller: Caller, key: str, fingerprint: str) -> Handle | None:
    found = store.find(current(), caller.id, key)
    if found is None:
        return None
    if found[0] != fingerprint:
        raise Problem(409, "idempotency_mismatch")
    return TaskHandle(uuid.UUID(str(found[1])), created=False)
