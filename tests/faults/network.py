"""A separate network for a worker, whose packets can be lost silently; needs root on Linux.

A proxy cannot do this: the kernel would continue to acknowledge data for it, and keepalives would find nothing wrong.
Here a pair of virtual interfaces connects a network namespace with the host. To lose everything, both sides get a wrong
hardware address of the other; to lose one connection, packets for it are routed into a black hole.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from typing import Self

#: An unused address.
_NOBODY = "02:00:00:00:00:99"


class NoNetwork(Exception):
    """No network can be made here."""


class Network:
    """A namespace and its connection to the host, for a ``with`` block.

    :ivar host: the address of the host, as seen from inside.
    :ivar command: the words before a command that run it inside.
    :raises NoNetwork: on entering: it needs root, and the program ``ip``.
    """

    def __init__(self) -> None:
        number = os.getpid() % 60_000
        self._name = f"faults{number}"
        self._outside, self._inside = f"fo{number}", f"fi{number}"
        prefix = f"10.231.{number // 240}.{number % 240 // 4 * 4}".rpartition(".")
        base = int(prefix[2])
        self.host, self.guest = f"{prefix[0]}.{base + 1}", f"{prefix[0]}.{base + 2}"
        self.command = ("ip", "netns", "exec", self._name)

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise NoNetwork("losing packets needs root, and the program ip of iproute2")
        try:
            self._ip("netns", "add", self._name)
            self._ip("link", "add", self._outside, "type", "veth", "peer", "name", self._inside, "netns", self._name)
            self._ip("addr", "add", f"{self.host}/30", "dev", self._outside)
            self._ip("link", "set", self._outside, "up")
            self._ip("-n", self._name, "addr", "add", f"{self.guest}/30", "dev", self._inside)
            self._ip("-n", self._name, "link", "set", self._inside, "up")
            self._ip("-n", self._name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise NoNetwork(f"no network can be made: {error.stderr.strip()}") from None
        return self

    def __exit__(self, *_: object) -> None:
        for command in (("link", "del", self._outside), ("netns", "del", self._name)):
            with suppress(subprocess.CalledProcessError):
                self._ip(*command)

    def lose_everything(self) -> None:
        """Lose all packets, in both directions."""
        self._ip("neigh", "replace", self.guest, "lladdr", _NOBODY, "dev", self._outside, "nud", "permanent")
        self._ip(
            "-n", self._name, "neigh", "replace", self.host, "lladdr", _NOBODY, "dev", self._inside, "nud", "permanent"
        )

    def heal(self) -> None:
        """Stop losing packets."""
        with suppress(subprocess.CalledProcessError):
            self._ip("neigh", "del", self.guest, "dev", self._outside)
        with suppress(subprocess.CalledProcessError):
            self._ip("-n", self._name, "neigh", "del", self.host, "dev", self._inside)

    def lose(self, port: int) -> None:
        """Lose packets for one connection, by its port inside."""
        # Otherwise the route of an established connection is not looked up again.
        self._run(*self.command, "sysctl", "-qw", "net.ipv4.ip_early_demux=0")
        rule = ("pref", "0", "iif", self._inside, "ipproto", "tcp", "dport", str(port), "blackhole")
        self._ip("-n", self._name, "rule", "add", *rule)
        # The table of local addresses comes first, unless it is moved back.
        self._ip("-n", self._name, "rule", "add", "pref", "1", "table", "local")
        self._ip("-n", self._name, "rule", "del", "pref", "0", "table", "local")

    def _ip(self, *arguments: str) -> None:
        self._run("ip", *arguments)

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True)
