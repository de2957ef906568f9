"""One embedded server: use, start, watch and stop it. Everything here is called with the start lock held.

The locks are the whole state; there is no list of processes that could be wrong:

* ``users.lock``: shared by every process that uses the server, as long as it lives;
* ``server.lock``: inherited by PostgreSQL's own processes, so that it is free exactly when none of them is left;
* ``watcher.lock``: inherited by the watcher, which waits for ``users.lock`` to be free and then stops the server.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from autotask.embedded import binaries, locks, watch
from autotask.embedded.installation import Installation, private_folder

USER = "postgres"
PORT = "5432"  # part of the socket's name; nothing listens on TCP
LEAVING = 10.0  # seconds for the processes of a killed server to end
STARTING = 60  # seconds for a start, which may begin with a recovery
INITDB = (
    *("--username", USER, "--auth=trust", "--encoding=UTF8", "--no-sync", "--no-instructions"),
    # The same letters and order on every machine, and case-insensitive search beyond ASCII.
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
CREATE_DATABASE = """
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
"""

_shares: dict[Path, int] = {}


def join(place: Installation) -> None:
    """Count this process as a user until it ends. Waits while the watcher is stopping the server."""
    # A share may get lost: to a daemon that closes all descriptors, or with a deleted folder.
    if place.users_lock not in _shares or not locks.is_at(_shares[place.users_lock], place.users_lock):
        _shares[place.users_lock] = locks.take(place.users_lock, locks.SHARED)


def leave(place: Installation) -> None:
    """Stop counting this process as a user."""
    share = _shares.pop(place.users_lock, None)
    if share is not None and locks.is_at(share, place.users_lock):
        os.close(share)  # closed, not unlocked: a forked child has the same share and may still use the server


def ensure_running(place: Installation, settings: Mapping[str, object]) -> None:
    """Start the server unless it answers; create its data first if there is none."""
    if _answers(place):
        return
    guard = locks.attempt(place.server_lock, LEAVING)
    if guard is None:
        raise ImproperlyConfigured(f"The PostgreSQL in {place.home} runs but does not answer. {_log_of(place)}")
    try:
        _start(place, settings, guard)
    finally:
        os.close(guard)  # closed, not unlocked: from here on the lock is PostgreSQL's


def ensure_watched(place: Installation) -> None:
    """Start the watcher, which stops the server, unless it runs already."""
    watcher = locks.attempt(place.watcher_lock)
    if watcher is None:
        return
    files = (locks.open_file(place.users_lock), watcher, locks.open_file(place.server_lock))
    program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("watch.py"))]
    command = [*program, *map(str, (*files, place.uid, place.gid, watch.GRACE))]
    place.watcher_log.unlink(missing_ok=True)  # it may be root's, while the folder is ours
    try:
        with place.watcher_log.open("wb") as log:
            subprocess.run(
                command, check=True, cwd=place.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=files
            )
    finally:
        for file in files:
            os.close(file)


def ensure_database(place: Installation, name: str) -> None:
    """Create the database if it is missing, with ``psql``: the choice of driver belongs to the project."""
    if name == USER:  # made by initdb
        return
    options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"name={name}")
    address = ("-h", str(place.socket_folder), "-p", PORT, "-U", USER, "-d", USER)
    _run([binaries.programs() / "psql", *options, *address], CREATE_DATABASE)


def stop(place: Installation) -> None:
    """Stop the server and wait for its end; it disconnects its users."""
    guard = locks.attempt(place.server_lock)
    if guard is None:
        try:
            _run([binaries.programs_for(place) / "pg_ctl", "stop", "-D", place.data, "-m", "fast"], place=place)
        except ImproperlyConfigured:
            # pg_ctl does not find a server that is just ending.
            if (guard := locks.attempt(place.server_lock, LEAVING)) is None:
                raise
        else:
            guard = locks.attempt(place.server_lock, LEAVING)
    if guard is not None:
        locks.release(guard)


def _answers(place: Installation) -> bool:
    """Whether a server takes connections: it says so in a file, which may be old, and on its socket."""
    try:
        ready = (place.data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place.socket_folder / f".s.PGSQL.{PORT}"))
    except (OSError, IndexError):
        return False
    return ready


def _start(place: Installation, settings: Mapping[str, object], guard: int) -> None:
    programs = binaries.programs_for(place)
    if not place.data.exists():
        _make_data(place, programs)
    _refuse_other_version(place, programs)
    _forget_dead_server(place)
    options = {
        **settings,
        "listen_addresses": "",
        "unix_socket_directories": _make_socket_folder(place),
        "port": PORT,
    }
    words = [word for name, value in options.items() for word in ("-c", f"{name}={_setting(name, value)}")]
    arguments = ("-w", "-t", str(STARTING), "-D", place.data, "-l", _log(place), "-o", shlex.join(words))
    _run([programs / "pg_ctl", "start", *arguments], place=place, files=(guard,), explain=True)


def _make_data(place: Installation, programs: Path) -> None:
    """Create the data in another folder and rename that when complete: a killed initdb leaves half of it."""
    scratch = place.home / "data.new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    place.own(scratch)
    _run([programs / "initdb", *INITDB, "-D", scratch], place=place)
    scratch.rename(place.data)


def _refuse_other_version(place: Installation, programs: Path) -> None:
    made_by = (place.data / "PG_VERSION").read_text().strip()
    installed = binaries.version(programs)
    if made_by != installed.split(".")[0]:
        raise ImproperlyConfigured(
            f"The data in {place.data} is of PostgreSQL {made_by}, and the installed package has {installed}. Delete "
            f"{place.directory} to start with an empty database, or install the package that made it and move the data "
            f"with pg_dump."
        )


def _forget_dead_server(place: Installation) -> None:
    """Delete pid files left by a killed server of ours, or copied here from another folder.

    PostgreSQL would delete the first itself, unless the pid now belongs to another process or to a zombie that nobody
    collects, as in containers. We hold the lock that each server started by us would hold, so it is dead.
    Only a server that was started here by hand has no such lock: it has its own socket, and keeps its file.
    """
    pid_file = place.data / "postmaster.pid"
    with suppress(OSError, ValueError):
        _, data, _, _, socket_folder, *_ = pid_file.read_text().splitlines()
        if Path(data).resolve() != place.data:
            pid_file.unlink()
        elif socket_folder == str(place.socket_folder):
            (place.socket_folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
            pid_file.unlink()


def _make_socket_folder(place: Installation) -> Path:
    """The folder of the last start, which other processes have in their settings, or a new one."""
    with suppress(OSError):
        found = place.socket_folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == place.uid and not found.st_mode & 0o077:
            return place.socket_folder
    place.socket_link.unlink(missing_ok=True)
    place.socket_link.symlink_to(private_folder(place))
    return place.socket_folder


def _setting(name: str, value: object) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
        raise ImproperlyConfigured(f"{name!r} is not the name of a PostgreSQL setting.")
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _run(
    command: Sequence[str | Path],
    script: str = "",
    *,
    place: Installation | None = None,
    files: Sequence[int] = (),
    explain: bool = False,
) -> None:
    """Run one of PostgreSQL's programs, as the server's account if ``place`` is given."""
    done = subprocess.run(
        command,
        cwd="/",
        env=binaries.clean_environment(),
        text=True,
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=files,
        **({} if place is None else place.credentials),
    )
    if done.returncode:
        details = _log_of(place) if place is not None and explain else ""
        raise ImproperlyConfigured(f"{Path(command[0]).name} failed: {done.stdout.strip()} {details}".strip())


def _log(place: Installation) -> Path:
    return place.data / "server.log"


def _log_of(place: Installation) -> str:
    """The end of the server's log, for a message."""
    try:
        lines = _log(place).read_text(errors="replace").splitlines()[-10:]
    except OSError:
        return ""
    return f"Its log, {_log(place)}, ends with:\n" + "\n".join(lines)
