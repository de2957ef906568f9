"""The settings of a site in a form in which its processes can compare them without telling them."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings as django_settings
from django.db import connections
from django.utils.functional import Promise


def digest() -> str | None:
    """Return a hash over the settings that the project has made; None if they cannot be compared."""
    try:
        _ = connections.settings  # Django adds its defaults to those of databases when they are first used.
        site: Any = django_settings
        made = [name for name in dir(site) if name.isupper() and site.is_overridden(name)]
        # Texts that are evaluated late may need the pages of the project, or its catalogues.
        same = {name: plain(getattr(site, name), late=type) for name in made}
    except Exception:  # a blank SECRET_KEY, a loop, or whatever an object of the project raises
        return None
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def plain(value: Any, *, late: Callable[[Promise], Any] = str) -> Any:
    """Return a setting in a form that is the same in each process of the site.

    :param late: returns what stands for a text that is evaluated late.
    """
    if isinstance(value, Promise):
        value = late(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, late=late) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, late=late) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(repr(plain(item, late=late)) for item in value)
    if isinstance(value, (str, int, float, os.PathLike)):  # a port is 5432 as well as "5432"
        return str(value)
    if isinstance(value, bytes):
        return repr(value)
    # The repr of an object may contain its address, or call foreign code.
    kind = value if isinstance(value, type) else type(value)
    return None if value is None else f"{kind.__module__}.{kind.__qualname__}"
