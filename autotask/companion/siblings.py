"""The guard's side of a family: admits the processes of one server that come to share the guard; standard library only."""

import os
import socket
import struct
from collections.abc import Iterator

from autotask.companion.served import DjangoProcess
from autotask.processes import packets
from autotask.processes.code_files import CodeFiles

#: The kernel's facts about the other side of a socket: process id, user id, group id. Source: unix(7), SO_PEERCRED.
_CREDENTIALS = struct.Struct("3i")

#: The number of descriptors that each sends: the end of its pipe that its worker reads, and both ends of that for offers.
_DESCRIPTORS = 3


class Siblings:
    """Those that come.

    :param listener: the socket to which they connect.
    """

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener: socket.socket | None = listener
        self._newcomers: list[socket.socket] = []
        self._code = CodeFiles()

    def admit(self) -> Iterator[tuple[DjangoProcess, int]]:
        """Yield each that has come, and a descriptor that can be read when it is gone."""
        if self._listener:
            self._accept(self._listener)
        for newcomer in self._newcomers.copy():
            try:
                packet = packets.receive(newcomer)
            except BlockingIOError:
                continue
            except (OSError, ValueError):  # broken, closed below with all others, or no packet of ours
                packet = None
            with newcomer:
                if packet is not None and (admitted := self._welcome(newcomer, *packet)):
                    yield admitted
            self._newcomers = [each for each in self._newcomers if each is not newcomer]

    def descriptors(self) -> list[int]:
        """Return the descriptors that can be read when there is something to do."""
        listener = [self._listener] if self._listener else []
        return [each.fileno() for each in (*listener, *self._newcomers)]

    def close(self) -> None:
        """Admit nobody from now on: those that come now start a guard of their own, which others can share."""
        if self._listener:
            self._listener.close()
        self._listener = None
        for newcomer in self._newcomers:
            newcomer.close()
        self._newcomers = []

    def _accept(self, listener: socket.socket) -> None:
        try:
            newcomer, _ = listener.accept()
        except BlockingIOError:  # None waits.
            return
        except OSError:  # There are no more descriptors, and those that wait would wake this process again and again.
            self.close()
            return
        # Each user of the host finds the address in /proc/net/unix. Nothing is read from others, and nothing kept of them.
        if _of(newcomer)[1] != os.geteuid():
            newcomer.close()
            return
        newcomer.setblocking(False)
        self._newcomers.append(newcomer)

    def _welcome(
        self, newcomer: socket.socket, words: dict[str, float], descriptors: list[int]
    ) -> tuple[DjangoProcess, int] | None:
        """Return the facts about a newcomer, unless it is refused."""
        if len(descriptors) != _DESCRIPTORS or set(words) != {
            "grace"
        }:  # from another version, or some were lost in a shortage
            packets.close(descriptors)
            return None
        if self._code.changed():  # autotask itself is being upgraded
            packets.close(descriptors)
            self.close()
            return None
        pid, _ = _of(newcomer)
        try:
            descriptors.append(os.pidfd_open(pid))
            packets.send(newcomer, {"guard": os.getpid()})
        except OSError:  # it is gone
            packets.close(descriptors)
            return None
        wake, *offers, pidfd = descriptors
        return DjangoProcess(pid, newcomer.detach(), wake, offers, words["grace"]), pidfd


def _of(newcomer: socket.socket) -> tuple[int, int]:
    """Return the process id and the user id of a newcomer."""
    pid, user, _ = _CREDENTIALS.unpack(newcomer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user
