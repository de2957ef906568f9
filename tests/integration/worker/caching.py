"""Task functions that use a cache and another handler of connections, for test_kept.py."""

from zoneinfo import ZoneInfo

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.utils import timezone, translation
from django.utils.connection import BaseConnectionHandler

from autotask.tasks import delayed_task


class CountedCache(LocMemCache):
    """Counts its instances, and how often they are closed at the end of a request."""

    made = 0
    closed = 0

    def __init__(self, name, params):
        super().__init__(name, params)
        CountedCache.made += 1

    def close(self, **kwargs):
        CountedCache.closed += 1


class Line:
    """A connection to something."""


class Lines(BaseConnectionHandler):
    """Makes connections as Django's own handlers do."""

    def create_connection(self, alias):
        CountedLines.made += 1
        return Line()


class CountedLines:
    made = 0


lines = Lines({"default": {}, "other": {}})


def use() -> tuple[int, int]:
    """Use them in whatever language was left here; return how many there are."""
    caches["counted"].set("key", "value")
    assert lines["default"] is lines["default"]
    return CountedCache.made, CountedLines.made


def use_and_tell_language(language: str) -> tuple[int, int, str, str]:
    found = translation.get_language(), timezone.get_current_timezone_name()
    translation.activate(language)
    timezone.activate(ZoneInfo("Asia/Tokyo"))
    return *use(), *found


@delayed_task
def in_thread(language: str = "fr"):
    return use_and_tell_language(language)


@delayed_task(executor="process")
def in_other_process(language: str) -> tuple[int, str | None]:
    found = translation.get_language()
    translation.activate(language)
    assert lines["default"] is lines["default"]
    return CountedLines.made, found


@delayed_task
async def in_coroutine(language: str = "fr"):
    return use_and_tell_language(language)


@delayed_task
async def in_thread_of_coroutine(language: str = "fr"):
    return await sync_to_async(use_and_tell_language)(language)


@delayed_task
def use_other() -> int:
    assert lines["other"] is not lines["default"]
    return CountedLines.made
