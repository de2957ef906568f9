"""The idle workers of a host leave it to a few lookouts to listen, which call those that rest; standard library only."""

import contextlib
import enum
import os
import random
import socket
import stat
import struct
import threading
import time
import weakref
from typing import NamedTuple

from autotask.processes.file_locks import FileLock

#: The number of workers that keep a lookout. (Of fewer than four idle workers, callers notify all: see autotask.store.addressee.)
POSTS = 4

#: The ending of the sockets on which workers that rest are called.
_RESTING = ".rest"

_CALL = struct.Struct("=cd")

#: If this number of calls has come at once, others may have found no place.
_MANY = 8


#: Nanoseconds in which the time of a change of a folder may stay the same.
_COARSE = 1_000_000_000


class Word(enum.Enum):
    """The news that a lookout passes on."""

    WORK = b"w"
    ONE = b"o"
    SCHEDULES = b"s"


class Call(NamedTuple):
    """A call of a lookout.

    :ivar at: when it has heard the word, on the monotonic clock, which all processes of a host share.
    """

    word: Word
    at: float


class Lookouts:
    """The place of a worker among the idle workers of its host that take the same tasks. Any thread may call this.

    A lookout holds one of a few locks on files, which the kernel releases however the worker dies. One that rests has a socket in
    the same folder, in which lookouts find it.

    :param folder: the same for all of them, and for nobody else.
    :param name: the name of this worker.
    :raises OSError: there is no such folder that only this user can write to.
    """

    def __init__(self, folder: str, name: str) -> None:
        _make_own(folder)
        self._folder, self._name = folder, name
        self._locks: list[FileLock] = []
        try:
            for number in range(POSTS):
                self._locks.append(FileLock(os.path.join(folder, f"post{number}")))
        except OSError:
            for lock in self._locks:
                lock.close()
            raise
        self._lock = threading.Lock()
        self._post: FileLock | None = None
        self._known: tuple[int, list[str]] = (0, [])
        self._socket: socket.socket | None = None

    @property
    def keeps_watch(self) -> bool:
        """Whether this worker is a lookout."""
        return self._post is not None

    def take_post(self) -> bool:
        """Become a lookout if one is missing; return whether this worker is one."""
        with self._lock:
            self._post = self._post or next((lock for lock in self._locks if lock.take()), None)
            if self._post is not None:
                self._post.touch()
            return self._post is not None

    def leave_post(self) -> None:
        """Leave it to another worker to be a lookout."""
        with self._lock:
            post, self._post = self._post, None
            if post is not None:
                post.release()

    # --- those that rest --------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Be called from now on; again if somebody has removed the socket.

        :raises OSError: that is not possible.
        """
        if self._socket is not None and os.path.exists(self._address(self._name)):
            return
        self.rise()
        call = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            call.setblocking(False)
            call.bind(self._address(self._name))
        except OSError:
            call.close()
            raise
        self._socket = call
        _resting.add(self)

    def rise(self) -> list[Call]:
        """Be called no more; return the last calls."""
        if self._socket is None:
            return []
        # In this order: what a lookout has sent is read, and it finds nobody to send more to.
        with contextlib.suppress(OSError):
            os.unlink(self._address(self._name))
        calls = self.heard()
        self._socket.close()
        self._socket = None
        return calls

    def stay_behind(self) -> None:
        """In a fork: leave the socket to the parent. Otherwise it would stay open, with nobody to read it, after the parent has died."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int | None:
        """Return the file descriptor that becomes readable when this worker is called; None if it does not rest."""
        return None if self._socket is None else self._socket.fileno()

    def heard(self) -> list[Call]:
        """Return, without waiting, the calls that have come since the last time."""
        calls: list[Call] = []
        while self._socket is not None:
            try:
                word, at = _CALL.unpack(self._socket.recv(_CALL.size))
                calls.append(Call(Word(word), at))
            except OSError:
                break
            except (ValueError, struct.error):
                continue  # of another version
        if len(calls) >= _MANY:
            latest = max(call.at for call in calls)
            calls += [Call(word, latest) for word in Word]
        return calls

    # --- lookouts ---------------------------------------------------------------------------------------------------

    def call(self, word: Word, at: float, *, one: bool = False) -> None:
        """Call those that rest.

        :param at: when the word was heard, on the monotonic clock.
        :param one: only one of them.
        """
        if not (names := self._others()):
            return
        # If there is no descriptor left, they look by themselves.
        with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as out:
            out.setblocking(False)
            for name in names:
                if self._send(out, name, _CALL.pack(word.value, at)) and one:
                    return

    def _send(self, out: socket.socket, name: str, words: bytes) -> bool:
        path = os.path.join(self._folder, name)
        try:
            out.sendto(words, path)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(path)  # Its worker was killed. (The names of workers are never used again.)
            return False
        except OSError:
            return False  # It has just risen, or has calls enough to wake up.
        return True

    def close(self) -> None:
        """Leave the others, for good; the last one removes the folder."""
        self.rise()
        with self._lock:
            self._post = None
            for lock in self._locks:
                lock.remove()
            self._locks = []
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)

    def _others(self) -> list[str]:
        """Return the sockets of those that rest, in a random order. They are listed only after a change of the folder."""
        try:
            changed = os.stat(self._folder).st_mtime_ns
            # One that has changed this moment may change again at the same time of its clock.
            if changed != self._known[0] or time.time_ns() - changed < _COARSE:
                self._known = changed, [name for name in os.listdir(self._folder) if name.endswith(_RESTING)]
        except OSError:
            return []
        others = [name for name in self._known[1] if name != self._name + _RESTING]
        random.shuffle(others)
        return others

    def _address(self, name: str) -> str:
        return os.path.join(self._folder, name + _RESTING)


#: Those of this process.
_resting: weakref.WeakSet[Lookouts] = weakref.WeakSet()


def _renew_in_fork() -> None:
    for lookouts in list(_resting):
        lookouts.stay_behind()
    _resting.clear()


os.register_at_fork(after_in_child=_renew_in_fork)


def _make_own(folder: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    # In a folder that is writable for all, somebody else may have been faster.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone")
