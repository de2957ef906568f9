"""The part of flow control that the settings decide, for all tasks alike."""

import functools
import hashlib
from typing import Any

from django.core.signals import setting_changed

from autotask.conf import settings
from autotask.flow.keys import KeyWriter
from autotask.flow.plan import Site
from autotask.setting import secret_key
from autotask.texts.masks import Masks


@functools.cache
def site() -> Site:
    """Return it: the same object until a setting changes.

    :raises InvalidSetting: a setting is invalid.
    """
    secret = settings.SIGNING_KEY or secret_key()
    raw = secret if isinstance(secret, bytes) else str(secret).encode()
    pepper = hashlib.sha256(b"autotask.keys\0" + raw).digest()
    writer = KeyWriter(Masks(settings.MASKED_ARGUMENTS), pepper)
    return Site.of(settings.LIMITS, settings.MAX_COUNT, settings.MAX_TYPE_COUNT, writer)


def _forget(**_: Any) -> None:
    site.cache_clear()


# Settings change only in tests. To read five of them at each call would make all calls slower.
setting_changed.connect(_forget)
