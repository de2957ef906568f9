"""The address of the Redis in which clients of django-simpletask2 find tasks."""

from typing import Any

from django.conf import settings as django_settings

from autotask.conf import Settings, settings
from autotask.exceptions import InvalidSetting

#: The prefixes of the addresses that redis-py knows.
SCHEMES = ("redis://", "rediss://", "unix://")

EXPECTED = (
    'an address such as "redis://host:6379/0", or the alias of one of CACHES that has such an address as its LOCATION'
)


def address() -> str | None:
    """Return the address; None if tasks are not put into Redis.

    :raises InvalidSetting: the setting is neither an address nor the alias of a cache with one.
    """
    value = settings.PULL_REDIS
    if value is None or value.startswith(SCHEMES):
        return value
    cache = django_settings.CACHES.get(value)
    location: Any = None if cache is None else cache.get("LOCATION")
    if isinstance(location, (list, tuple)) and location:
        location = location[0]  # the others are its replicas
    if not isinstance(location, str) or not location.startswith(SCHEMES):
        raise InvalidSetting(name=Settings.PULL_REDIS.name, expected=EXPECTED, value="•••")
    return location
