"""The key of a client: AUTOTASK_PULL_KEY, or an API key with the scope "pull"."""

import hmac
import threading
import time
from typing import Any

from django.utils.encoding import force_bytes
from django.views.decorators.debug import sensitive_variables

from autotask.acts import keys
from autotask.api import tokens
from autotask.api.simpletask2.problems import KeyMissing, KeyWrong
from autotask.conf import settings
from autotask.scopes import Scope
from autotask.setting import secret_key

#: Seconds that the answer to a wrong key takes, once too many have come from an address.
SLOW = 1.0

#: The most threads of the server that such answers may take at a time.
_slow = threading.BoundedSemaphore(2)


@sensitive_variables()
def refuse_stranger(key: Any, address: str) -> None:
    """Refuse a client without a valid key.

    :param key: whatever the client has sent.
    :raises KeyMissing: nothing.
    :raises KeyWrong: another key.
    """
    if not key:
        raise KeyMissing
    if isinstance(key, str) and (_is_of_setting(key) or _is_of_api(key, address)):
        return
    if tokens.wrong_keys.take(address, settings.API_WRONG_KEYS) and _slow.acquire(blocking=False):
        try:
            time.sleep(SLOW)
        finally:
            _slow.release()
    raise KeyWrong


@sensitive_variables()
def _is_of_setting(key: str) -> bool:
    if (own := settings.PULL_KEY) is None:
        return False
    expected = force_bytes(own)
    signs = any(expected == force_bytes(signing) for signing in (secret_key(), settings.SIGNING_KEY or ""))
    return hmac.compare_digest(key.encode("utf-8", "replace"), expected) and not signs


@sensitive_variables()
def _is_of_api(key: str, address: str) -> bool:
    if not keys.was_right(key) and tokens.wrong_keys.wait(address, settings.API_WRONG_KEYS):
        return False  # as for the HTTP API, it is not looked up
    found = keys.verified(key)
    return found is not None and any(Scope.of(scope).allows("pull", "") for scope in found.scopes)
