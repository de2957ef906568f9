"""The addresses of a host: found within a time, and refused if a request from here must not go there."""

import ipaddress
import queue
import socket
import threading
from typing import Any

from autotask.fetching.hosts import Trust

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Services that tell a machine of a cloud its secrets, at addresses that look public. (The others are link-local.)
METADATA = frozenset(map(ipaddress.ip_address, ("168.63.129.16",)))

#: The addresses of version 6 that are given out to the public. (RFC 4291, and the registry of IANA.)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")

#: An address of version 4 behind a translator of the provider. (RFC 6052.)
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


def why_refused(address: str, trust: Trust) -> str:
    """Return why a host of this trust must not have this address, or "" if it may."""
    if trust is Trust.ANY:
        return ""
    meant = [ipaddress.ip_address(address)]
    meant += _inside(meant[0])
    if any(_is_forbidden(one) for one in meant):
        return f"its address {address} is link-local, multicast, reserved, or that of a metadata service"
    if trust is Trust.PUBLIC and not all(_is_public(one) for one in meant):
        return f"its address {address} is not public, and only a wildcard in the list allows this host"
    return ""


def resolve(host: str, port: int, seconds: float) -> list[tuple[int, Any]]:
    """Return the addresses of a host, each as a family and what ``socket.connect`` takes, in the order to try them.

    :raises TimeoutError: the look-up took longer than that.
    :raises OSError: it has none.
    """
    found: queue.SimpleQueue[list[tuple[int, Any]] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.put([(info[0], info[4]) for info in infos])
        except Exception as error:
            found.put(error)

    # The resolver of the system cannot be interrupted, and may take a minute.
    threading.Thread(target=look_up, name="autotask-resolver", daemon=True).start()
    try:
        answer = found.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _inside(address: Address) -> list[Address]:
    """Return the addresses of version 4 to which a router would send what goes to one of version 6."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inside: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _TRANSLATED:
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inside if one is not None]


def _is_forbidden(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address in _TRANSLATED or address.ipv4_mapped or address.is_loopback
    ):
        return False  # the address inside decides; loopback counts as reserved
    return (
        address in METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or (isinstance(address, ipaddress.IPv4Address) and int(address) >> 24 == 0)
    )


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        return bool(address.ipv4_mapped) or address in _TRANSLATED or (address in _PUBLIC_6 and address.is_global)
    return address.is_global
