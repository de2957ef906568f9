"""Defaults of options that a setting decides: read once, since each call uses them."""

import functools
from typing import Any

from django.core.signals import setting_changed

from autotask.conf import settings


@functools.cache
def ttl() -> float:
    """Return for how many seconds results are kept, if their task does not say so."""
    return settings.TTL


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "AUTOTASK_TTL":
        ttl.cache_clear()


setting_changed.connect(_forget)
