"""The time zone data in use, and the others installed: the system's, the package tzdata, and pytz."""

import functools
import importlib
import os
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from importlib import resources
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

from autotask.schedules import clocks
from autotask.schedules.pytz_zones import PytzZone

#: Each clock that changes at all changes within this time.
_YEAR = timedelta(days=366)

TZDATA = "the package tzdata"
PYTZ = "the package pytz"
NOWHERE = "an unknown place"

#: In the first line of tzdata.zi.
_VERSION = re.compile(r"# version (\S+)")


@dataclass(frozen=True, slots=True)
class ZoneData:
    """A collection of time zone rules.

    :ivar version: such as 2026a; "" if it does not say.
    :ivar source: a folder, or :data:`TZDATA`, :data:`PYTZ` or :data:`NOWHERE`.
    """

    version: str
    source: str

    def __str__(self) -> str:
        return f"{self.version or 'unknown version'} of {self.source}"


@dataclass(frozen=True, slots=True)
class Newer:
    """Newer rules for a zone that are installed but not used.

    :ivar since: the first moment for which they differ from those in use.
    """

    key: str
    data: ZoneData
    since: datetime

    def __str__(self) -> str:
        return f"{self.key} has other rules in {self.data}, from {self.since:%Y-%m-%d} on"


def in_use(zone: tzinfo) -> ZoneData:
    """Return the source of a zone's rules."""
    if isinstance(zone, PytzZone):
        return _of_pytz(_imported("pytz"))
    return _in_use(str(zone))


def named(key: str) -> ZoneData | None:
    """Return the source of a zone's rules; None if there are none, which does not matter to a site in UTC."""
    found = _in_use(key)
    return None if found.source == NOWHERE else found


def remember_versions() -> None:
    """Note the versions now, while zones are being read, so that :func:`in_use` can return them later."""
    for folder in zoneinfo.TZPATH:
        _version_in(folder)


def with_best_rules(zone: tzinfo) -> tzinfo:
    """Return a zone of pytz with its own rules, if those of ``zoneinfo`` are older, unknown or missing."""
    own = _of_pytz(_imported("pytz"))
    for data, _ in _installed(str(zone)):
        if data.version and data.version >= own.version:
            return ZoneInfo(str(zone))
        break
    return PytzZone(zone)


def advice(found: Newer) -> str:
    """Return the advice to use newer rules."""
    if found.data.source == PYTZ:
        return (
            "Install a tzdata of that version (pip install -U tzdata), and start everything with PYTHONTZPATH= (empty)."
        )
    if found.data.source == TZDATA:
        return "Start everything with PYTHONTZPATH= (empty), so that Python takes the package tzdata."
    return f"Start everything with PYTHONTZPATH={found.data.source}."


def newer(zone: tzinfo, now: datetime) -> Newer | None:
    """Return the newest installed rules for a zone, if they differ from those in use within a year from *now*."""
    used, key = in_use(zone), str(zone)
    if not used.version:
        return None
    for data, other in sorted(_all_installed(key), key=lambda item: item[0].version, reverse=True):
        if data.version <= used.version:
            return None
        since = _first_difference(zone, other, now)
        return None if since is None else Newer(key, data, since)
    return None


@functools.cache
def _in_use(key: str) -> ZoneData:
    return next((data for data, _ in _installed(key)), ZoneData("", NOWHERE))


def _all_installed(key: str) -> Iterator[tuple[ZoneData, tzinfo]]:
    yield from _installed(key)
    if (pytz := _imported("pytz")) is not None and key in pytz.all_timezones_set:
        yield _of_pytz(pytz), PytzZone(pytz.timezone(key))


def _installed(key: str) -> Iterator[tuple[ZoneData, tzinfo]]:
    """Yield the data that ``zoneinfo`` can find for a zone, in its order: the first is in use."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, key)
        if path.is_file():
            with path.open("rb") as file:
                yield ZoneData(_version_in(folder), folder), ZoneInfo.from_file(file, key)
    if (tzdata := _imported("tzdata")) is not None:
        packed = resources.files(tzdata).joinpath("zoneinfo", *key.split("/"))
        if packed.is_file():
            with packed.open("rb") as file:
                yield ZoneData(tzdata.IANA_VERSION, TZDATA), ZoneInfo.from_file(file, key)


def _of_pytz(pytz: ModuleType | None) -> ZoneData:
    return ZoneData(getattr(pytz, "OLSON_VERSION", ""), PYTZ)


@functools.cache  # Zones are read once as well: a process does not see what is installed after its start.
def _version_in(folder: str) -> str:
    try:
        with open(os.path.join(folder, "tzdata.zi"), encoding="utf-8") as file:
            found = _VERSION.match(file.readline())
        return found[1] if found else ""
    except OSError:
        pass
    try:
        return Path(folder, "+VERSION").read_text(encoding="utf-8").strip()  # on BSD and macOS
    except OSError:
        return ""


def _first_difference(zone: tzinfo, other: tzinfo, start: datetime) -> datetime | None:
    end = start + _YEAR
    moments = {start}
    for each in (zone, other):
        change = clocks.next_change(each, start, end)
        while change is not None:
            moments.add(change.at)
            change = clocks.next_change(each, change.at, end)
    return next((at for at in sorted(moments) if clocks.offset(zone, at) != clocks.offset(other, at)), None)


@functools.cache
def _imported(name: str) -> ModuleType | None:
    """Return a package; None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
