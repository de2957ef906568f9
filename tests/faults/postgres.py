"""A PostgreSQL server to stop, restart, pause and fill, for root and ordinary users alike."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from django.core.exceptions import ImproperlyConfigured

from autotask.embedded import binaries
from autotask.embedded.installation import Installation
from tests import tether

#: For fast starts. A killed server loses nothing without fsync; only a killed kernel might.
FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "100", "shared_buffers": "64MB"}

START = 60


class NoServer(Exception):
    """PostgreSQL is not installed here."""


class Server:
    """One server with its data in its own folder.

    :param settings: of the server.
    :param environment: variables for it.
    :param folder: an empty folder for its files; None makes one.
    :raises NoServer: PostgreSQL is not installed here.
    """

    def __init__(
        self, *, environment: dict[str, str] | None = None, folder: Path | None = None, **settings: Any
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="autotask-faults-", dir="/tmp"))
        tether.hold_server(self.folder)
        self.port = free_port()
        self._environment = {**binaries.clean_environment(), **(environment or {})}
        # PostgreSQL refuses to run as root.
        account = _account() if os.geteuid() == 0 else None
        self._place = Installation(self.folder, self.folder, account)
        self._place.own(self.folder)
        try:
            self._programs = binaries.programs_for(self._place)
        except ImproperlyConfigured as error:
            raise NoServer(str(error)) from None
        self.settings: dict[str, Any] = {
            **FAST,
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "log_lock_waits": "on",
            "log_line_prefix": "'%m [%p] %a '",
            **settings,
        }

    @property
    def data(self) -> Path:
        """The folder of the data."""
        return self._place.data

    def make(self, like: "Server | None" = None) -> "Server":
        """Make the data, or copy those of a server that was stopped, and start."""
        if like is None:
            # Large WAL segments for many servers would be waste.
            self.run("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--wal-segsize=4", "-D", self.data)
        else:
            subprocess.run(["cp", "-a", like.data, self.data], check=True)
        self.start()
        return self

    def start(self) -> None:
        """Start, and return when it accepts connections."""
        lines = "".join(f"{name} = {_quoted(value)}\n" for name, value in self.settings.items())
        with (self.data / "postgresql.auto.conf").open("w") as file:
            file.write(lines)
        if self._place.account is not None:
            os.chown(self.data / "postgresql.auto.conf", self._place.uid, self._place.gid)
        self.run("pg_ctl", "start", "-w", "-t", str(START), "-D", self.data, "-l", self.folder / "log")

    def stop(self, mode: str = "fast") -> None:
        """Stop; "immediate" is as if it had crashed."""
        self.run("pg_ctl", "stop", "-w", "-t", str(START), "-D", self.data, "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """Stop and start again."""
        self.stop(mode)
        self.start()

    def follow(self, primary: "Server") -> None:
        """Start as a standby of another server."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        self.run("pg_basebackup", "-R", "-c", "fast", "-X", "stream", "-d", source, "-D", self.data)
        # start() overwrites the file with the settings that pg_basebackup has written for a standby.
        self.settings["primary_conninfo"] = source
        self.start()

    def promote(self) -> None:
        """Promote a standby to primary."""
        self.run("pg_ctl", "promote", "-w", "-D", self.data)

    def pause(self) -> None:
        """Pause all its processes."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume its processes."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what it has logged so far."""
        return (self.folder / "log").read_text(errors="replace")

    def remove(self) -> None:
        """Stop it, running or not, and delete its files."""
        with suppress(AssertionError):
            self.resume()
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run a statement as an administrator, and return what psql prints."""
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database)
        return self.run("psql", "-XqtA", "-v", "ON_ERROR_STOP=1", *address, "-c", text)

    def run(self, program: str, *arguments: object) -> str:
        """Run one of PostgreSQL's programs, as the account of the server."""
        # Not a pipe: a started server keeps it open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._programs / program, *map(str, arguments)],
                cwd="/",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._place.credentials,
            )
            output.seek(0)
            text = output.read().decode(errors="replace").strip()
        log = f"\n{self.log()[-2000:]}" if done.returncode and (self.folder / "log").exists() else ""
        assert done.returncode == 0, f"{program} failed: {text}{log}"
        return text

    def _signal(self, signum: int) -> None:
        try:
            postmaster = psutil.Process(int((self.data / "postmaster.pid").read_text().splitlines()[0]))
        except (OSError, psutil.NoSuchProcess):
            return
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signum)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _quoted(value: object) -> str:
    return str(value) if str(value).startswith("'") else f"'{value}'"
