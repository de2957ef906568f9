"""The PostgreSQL to measure on: the one that the environment names, or a new one during the benchmark."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotask import embedded
from autotask.embedded import environment
from benchmarks.errors import NotRun
from benchmarks.sql import Connection, OperationalError

HOME = Path(__file__).parent

#: Not a folder for temporary files, which may be in memory, where waiting for the disk costs nothing.
DATA = HOME / ".pgdata"

#: The parts of an address, as Django and libpq call them.
_NAMES = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")


@dataclass(frozen=True)
class Server:
    """The address of a server.

    :ivar parameters: keywords of libpq and their values, without the database.
    :ivar home_database: a database that exists.
    """

    parameters: dict[str, str]
    home_database: str

    @classmethod
    def from_settings(cls, entry: dict[str, Any]) -> "Server":
        """Return the server of an entry of Django's ``DATABASES``."""
        parameters = {_NAMES[key]: str(entry[key]) for key in _NAMES if entry.get(key)}
        server = cls(parameters | {key: str(value) for key, value in entry.get("OPTIONS", {}).items()}, "postgres")
        try:
            server.connect().close()
        except OperationalError:
            return cls(server.parameters, entry["NAME"])
        return server

    def connect(self, database: str | None = None) -> Connection:
        """Open a connection."""
        return Connection(**self.parameters, dbname=database or self.home_database)

    def environment(self, database: str) -> dict[str, str]:
        """Return the environment variables for a database of this server."""
        return {f"PG{name.upper()}": value for name, value in self.parameters.items()} | {"PGDATABASE": database}

    def description(self) -> dict[str, str]:
        """Return the version and the settings that figures depend on."""
        with self.connect() as connection:
            found = {"version": connection.value("SHOW server_version")}
            return found | {name: connection.value(f"SHOW {name}") for name in _SETTINGS}


@contextmanager
def measured_server(data: Path) -> Iterator[Server]:
    """The server that ``DATABASE_URL`` or the ``PG*`` variables name, otherwise a new one until the end of the block.

    :param data: where the new one keeps its data.
    """
    named = environment.database(os.environ)
    if named is not None:
        yield Server.from_settings(named)
    else:
        with own_server(data) as server:
            yield server


@contextmanager
def own_server(data: Path, fsync_us: int = 0) -> Iterator[Server]:
    """A new server with the default durability of PostgreSQL, which is removed after the block.

    :param data: where it keeps its data; the folder is made if it is missing.
    :param fsync_us: microseconds that are added to each wait for the disk.
    :raises NotRun: a slower disk needs Linux and a C compiler.
    """
    data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=data))
    folder.chmod(0o755)
    try:
        with _slow_disk(fsync_us):
            entry = embedded.database(folder)
        yield Server.from_settings(entry)
    finally:
        embedded.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)
        # Another benchmark may have its server there.
        with contextlib.suppress(OSError):
            data.rmdir()


@contextmanager
def _slow_disk(fsync_us: int) -> Iterator[None]:
    """Make programs that are started in this block wait longer for the disk."""
    if not fsync_us:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        # The server may run as another account; it keeps the library in memory when the file is deleted.
        Path(folder).chmod(0o755)
        library = _compile(Path(folder))
        os.environ |= {"LD_PRELOAD": str(library), "SLOW_FSYNC_US": str(fsync_us)}
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["SLOW_FSYNC_US"]


def _compile(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise NotRun("it needs Linux and a C compiler (cc)")
    library = folder / "slow_fsync.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(HOME / "slow_fsync.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotRun(f"cc failed: {done.stderr.strip()}")
    return library
