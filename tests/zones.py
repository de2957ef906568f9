"""Time zones with rules of one's own, so that no test depends on the data of the machine."""

import contextlib
import struct
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

from django.utils.timezone import get_default_timezone

from autotask.schedules import zone_data


def compiled(rule: str) -> bytes:
    """Return a zone in the form of RFC 9636 that follows a rule like ``<+05>-5`` all the time."""
    header = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 4)
    body = struct.pack(">lbb", 0, 0, 0) + b"LMT\0"
    return header + body + header + body + f"\n{rule}\n".encode()


def write(folder: Path, version: str, **rules: str) -> Path:
    """Write the data of zones into a new folder; a name has __ for its slash."""
    folder.mkdir()
    (folder / "tzdata.zi").write_text(f"# version {version}\n# This zic input file is in the public domain.\n")
    for name, rule in {"UTC": "UTC0", **rules}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(compiled(rule))
    return folder


@contextlib.contextmanager
def looked_for_in(*folders: Path) -> Iterator[None]:
    """Have zoneinfo look for zones in these folders, as PYTHONTZPATH does."""
    before = zoneinfo.TZPATH
    look_in(*map(str, folders))
    try:
        yield
    finally:
        look_in(*before)


def look_in(*folders: str) -> None:
    """Have zoneinfo look there, as if the process had just begun."""
    zoneinfo.reset_tzpath(to=folders)
    zoneinfo.ZoneInfo.clear_cache()
    get_default_timezone.cache_clear()
    zone_data._version_in.cache_clear()
    zone_data._in_use.cache_clear()
