"""Packets between processes of one host: a few words and descriptors through a Unix socket; standard library only."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

#: The kind of socket: it keeps packets apart, and has an end.
KIND = socket.SOCK_SEQPACKET

_MOST_BYTES = 65536
_MOST_DESCRIPTORS = 8


def send(line: socket.socket, words: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a packet.

    :raises OSError: the other side is gone, or does not read.
    """
    socket.send_fds(line, [json.dumps(words).encode()], list(descriptors))


def receive(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Receive a packet: its words, and its descriptors, which programs that this process starts do not inherit.

    :returns: None if the other side is gone.
    :raises OSError: there is none yet, and the socket does not wait; or the socket is broken.
    :raises ValueError: it is none that :func:`send` has sent.
    """
    # Not in the module: socket lacks it elsewhere, and there this is not called.
    body, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not body:
        close(descriptors)
        return None
    try:
        words = json.loads(body)
        if not isinstance(words, dict):
            raise ValueError("no words")
    except ValueError:
        close(descriptors)
        raise
    return words, list(descriptors)


def close(descriptors: Sequence[int]) -> None:
    """Close descriptors that have come in a packet."""
    for descriptor in descriptors:
        os.close(descriptor)
