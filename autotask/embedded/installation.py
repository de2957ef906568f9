"""The files of an embedded server, and the account that it runs as.

For an ordinary user both are simple: the given folder, and that user. PostgreSQL refuses to run as root, so root needs
another account, and that account needs access to the data. Other tools open the user's folders for it; we put the data
where the account can reach it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

# Root's own folder: nobody else can put something there first, and temporary files are not cleaned there.
ELSEWHERE = Path("/var/lib/autotask/postgresql")
ACCOUNTS = ("postgres", "_postgres", "nobody")
START_LOCK = "start.lock"
NOTE = "elsewhere.txt"

logger = logging.getLogger("autotask.embedded")


@dataclass(frozen=True)
class Installation:
    """The folders of one server and the account it runs as; ``account`` is None for our own."""

    directory: Path
    home: Path
    account: pwd.struct_passwd | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def users_lock(self) -> Path:
        """Shared by every process that uses the server."""
        return self.home / "users.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the processes of PostgreSQL itself."""
        return self.home / "server.lock"

    @property
    def watcher_lock(self) -> Path:
        """Held by the watcher, which stops the server."""
        return self.home / "watcher.lock"

    @property
    def watcher_log(self) -> Path:
        return self.home / "watcher.log"

    @property
    def socket_link(self) -> Path:
        return self.home / "socket"

    @property
    def socket_prefix(self) -> str:
        return f"autotask-{digest(self.home)[:8]}-"

    @property
    def socket_folder(self) -> Path:
        folder = Path(os.readlink(self.socket_link))
        if not folder.name.startswith(self.socket_prefix):  # copied with the whole project: not ours
            raise FileNotFoundError(f"{folder} is not the socket folder of {self.home}.")
        return folder

    @property
    def credentials(self) -> dict[str, Any]:
        """The arguments with which ``subprocess`` starts a program as the server's account."""
        if self.account is None:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    @property
    def uid(self) -> int:
        return os.geteuid() if self.account is None else self.account.pw_uid

    @property
    def gid(self) -> int:
        return os.getegid() if self.account is None else self.account.pw_gid

    def own(self, folder: Path) -> None:
        """Give a folder that we have just created to the server's account."""
        if self.account is not None:
            os.chown(folder, self.uid, self.gid, follow_symlinks=False)


def digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def open_folder(directory: str | os.PathLike[str]) -> Path:
    """The folder of a server, created if it is missing; refuses one that contains something else."""
    folder = Path(directory).resolve()
    if not folder.exists():
        _make_folder(folder)
    # In this order: other processes create the lock before anything else.
    if any(folder.iterdir()) and not (folder / START_LOCK).exists():
        raise ImproperlyConfigured(
            f"{folder} is not empty and was not made by autotask.embedded. Name a folder of its own for the database."
        )
    return folder


def settle(directory: Path) -> Installation:
    """Find the server's place, or choose one. Called with the start lock held."""
    place = Installation(directory, directory, None) if os.geteuid() else _settle_for_root(directory)
    _refuse_foreign_data(place)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return place


def delete(place: Installation) -> None:
    """Delete the files of a stopped server, and the folder unless the user put something into it."""
    _delete_home(place)
    for name in (NOTE, ".gitignore", START_LOCK):
        (place.directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        place.directory.rmdir()


def private_folder(place: Installation) -> Path:
    """A new folder only for the server's account, with a path short enough for a Unix socket."""
    # Not in $TMPDIR, whose path may be long or closed to the server's account: a socket's path ends at 103 bytes.
    folder = Path(tempfile.mkdtemp(prefix=place.socket_prefix, dir="/tmp"))
    place.own(folder)
    return folder


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    owner = _owner(folder.parent) if os.geteuid() == 0 else None
    if owner is not None:  # so that a first start with sudo does not lock the project's user out
        os.chown(folder, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def _settle_for_root(directory: Path) -> Installation:
    elsewhere = ELSEWHERE / digest(directory)[:16]
    note = directory / NOTE
    if (directory / "data").exists():
        return Installation(directory, directory, _owner(directory / "data"))
    if note.exists() and note.read_text().splitlines()[:1] == [str(elsewhere)] and (elsewhere / "data").exists():
        return Installation(directory, elsewhere, _owner(elsewhere / "data"))
    account = _owner(directory) or _system_account()
    if _can_enter(account, directory):
        return Installation(directory, directory, account)
    place = Installation(directory, elsewhere, account)
    _delete_home(place)  # of a deleted folder of this name, whose database was meant to go with it
    for folder in (ELSEWHERE.parent, ELSEWHERE, elsewhere):
        make_readable_folder(folder)
    note.write_text(
        f"{elsewhere}\nThe line above is where this database is: the account {account.pw_name!r}, which root runs "
        f"PostgreSQL as, cannot reach this folder.\n"
    )
    logger.warning("%s cannot be reached by %r; its PostgreSQL is in %s.", directory, account.pw_name, elsewhere)
    return place


def _owner(folder: Path) -> pwd.struct_passwd | None:
    """The owner of a folder; None for root and for owners without an account, whom initdb would refuse."""
    owner = folder.stat().st_uid
    with suppress(KeyError):
        return pwd.getpwuid(owner) if owner else None
    return None


def _system_account() -> pwd.struct_passwd:
    for name in ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ImproperlyConfigured(
        f"PostgreSQL refuses to run as root, and there is no account to run it as (looked for {', '.join(ACCOUNTS)}). "
        f"Run as an ordinary user, or add the account 'postgres'."
    )


def _can_enter(account: pwd.struct_passwd, folder: Path) -> bool:
    """Whether ``account`` can enter ``folder``: tried, because of access lists and mounts."""
    place = Installation(folder, folder, account)
    tried = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)], cwd="/", stderr=subprocess.DEVNULL, **place.credentials
    )
    return tried.returncode == 0


def make_readable_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # ours, whatever the umask is


def _refuse_foreign_data(place: Installation) -> None:
    if place.data.exists() and place.data.stat().st_uid != place.uid:
        raise ImproperlyConfigured(
            f"The database in {place.home} belongs to user {place.data.stat().st_uid}, not to {place.uid}: it was "
            f"started by somebody else, perhaps with sudo. Run as that user, or delete {place.directory}."
        )


def _delete_home(place: Installation) -> None:
    with suppress(OSError):
        for left in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):  # by a server that was killed
            (place.socket_folder / left).unlink(missing_ok=True)
        place.socket_folder.rmdir()
    shutil.rmtree(place.data, ignore_errors=True)
    shutil.rmtree(place.home / "data.new", ignore_errors=True)
    for path in (place.socket_link, place.users_lock, place.watcher_lock, place.server_lock, place.watcher_log):
        path.unlink(missing_ok=True)
    if place.home != place.directory:
        shutil.rmtree(place.home, ignore_errors=True)
