"""A virtual environment for each peer, with the versions that its requirements name."""

import glob
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.peers import Peer

#: The requirements that are installed, so that changed ones are installed again.
_STAMP = "installed.sha256"

#: The packages that figures depend on: the queues, and the database drivers.
_NAMED = {"asyncpg", "django", "django-tasks-db", "huey", "pgqueuer", "procrastinate", "psycopg"}


def default_folder() -> Path:
    """Return where environments are kept between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "autotask-benchmarks"


def ensure(peer: Peer, folder: Path) -> Path:
    """Return the interpreter of a peer's environment, which is made if it is missing or out of date.

    :raises BenchmarkError: no Python fits it, or its packages cannot be installed.
    """
    home = folder / peer.name
    python = home / "bin" / "python"
    wanted = hashlib.sha256(peer.requirements.read_bytes()).hexdigest()
    stamp = home / _STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {peer.name} into {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    _run([_interpreter(peer), "-m", "venv", str(home)], peer)
    _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(peer.requirements)], peer)
    stamp.write_text(wanted)
    return python


def versions(peer: Peer) -> str:
    """Return the packages of the peer that figures depend on, with versions."""
    found = [line for line in peer.requirements.read_text().splitlines() if line.split("==")[0].lower() in _NAMED]
    return ", ".join(line.replace("==", " ") for line in found)


def _interpreter(peer: Peer) -> str:
    """Return this Python, or if it is too old for the peer the first one found."""
    if sys.version_info >= peer.python:
        return sys.executable
    for candidate in _others(peer.python):
        # pyenv has shims even for versions that are not installed.
        if subprocess.run([candidate, "-c", "import venv"], capture_output=True).returncode == 0:
            return candidate
    raise BenchmarkError(f"{peer.name} needs Python {'.'.join(map(str, peer.python))} or newer, and none was found.")


def _others(oldest: tuple[int, int]) -> Iterator[str]:
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    for minor in range(oldest[1], oldest[1] + 5):
        version = f"{oldest[0]}.{minor}"
        yield from sorted(glob.glob(f"{pyenv}/versions/{version}.*/bin/python"))
        if found := shutil.which(f"python{version}"):
            yield found


def _run(command: list[str], peer: Peer) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise BenchmarkError(f"{peer.name} could not be installed: {done.stdout.strip()}")
