"""The list of hosts that may be asked: how its entries are written, and what they allow."""

import enum
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

#: The ports of an entry that names none.
DEFAULT_PORTS = frozenset({80, 443})

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


class Trust(enum.IntEnum):
    """The addresses that a host may have; larger members allow more.

    A name in the list is the word of the site that its host may be in the site's own network. A wildcard is not: anybody
    who controls one name below it could point that to a server that only this machine can reach.
    """

    PUBLIC = 1
    INTERNAL = 2
    ANY = 3


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """One entry: ``"example.org"``, ``"*.example.org"``, ``"*"`` or an address, each also with a port.

    :ivar name: the name or address; for a wildcard what follows its asterisk.
    :ivar ports: the allowed ports; None: all.
    """

    name: str
    ports: frozenset[int] | None
    trust: Trust

    @classmethod
    def parse(cls, text: str) -> "AllowedHost":
        """Read an entry.

        :raises ValueError: it is not one.
        """
        host, ports = _split(text.strip())
        if (address := as_address(host)) is not None:
            return cls(address, ports, Trust.ANY)
        if host == "*":
            return cls("", ports, Trust.PUBLIC)
        if host.startswith("*."):
            return cls("." + as_name(host[2:]), ports, Trust.PUBLIC)
        return cls(as_name(host), ports, Trust.INTERNAL)

    def allows(self, host: str, port: int) -> bool:
        """Whether this entry allows a host, as :func:`normal` writes it."""
        if self.ports is not None and port not in self.ports:
            return False
        if self.trust is Trust.PUBLIC:
            return host.endswith(self.name) and as_address(host) is None
        return host == self.name


def trust_in(host: str, port: int, allowed: Iterable[str]) -> Trust | None:
    """Return the addresses that a host may have, or None if no entry allows it.

    :raises ValueError: an entry is invalid.
    """
    entries = [AllowedHost.parse(text) for text in allowed]
    return max((entry.trust for entry in entries if entry.allows(host, port)), default=None)


def normal(host: str) -> str:
    """Return a host in the one way in which hosts are compared: an address, or a name in ASCII and small letters.

    :raises ValueError: it is neither.
    """
    address = as_address(host)
    return as_name(host) if address is None else address


def as_address(host: str) -> str | None:
    """Return an address in its usual form; None if the host is a name."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def as_name(host: str) -> str:
    """Return a name in ASCII and small letters, without a dot at its end.

    :raises ValueError: it is not a name. That includes 127.1 and 0x7f000001, which some systems take for addresses.
    """
    name = host.lower().removesuffix(".")
    if not name.isascii():
        name = name.encode("idna").decode("ascii")  # raises a UnicodeError, which is a ValueError
    labels = name.split(".")
    last = labels[-1]
    if not all(labels) or not set(name) <= _LETTERS or last.isdigit() or last.startswith("0x") or len(name) > 253:
        raise ValueError(f"{host!r} is not the name of a host")
    return name


def _split(text: str) -> tuple[str, frozenset[int] | None]:
    if as_address(text) is not None:
        return text, DEFAULT_PORTS  # an address of version 6 has colons of its own
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, DEFAULT_PORTS
    if port == "*":
        return host, None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is not a port")
    return host, frozenset({int(port)})
