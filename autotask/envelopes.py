"""Envelopes, the form of all payloads, and functions that make and open many of one kind.

An envelope is::

    "AT"  version  codec  flags  key id (4)  MAC (16)  body

The flags say whether the body refers to model instances, see :mod:`autotask.pickling`, whether it begins with the
values of carriers, and with subject and metadata: their length (4) and JSON, see :mod:`autotask.carriers`, and whether
somebody should be notified of the end of the task, see :mod:`autotask.on_end`. :mod:`autotask.seals` says what
the MAC covers.
"""

import functools
import hmac
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from autotask.signing import SIZE, Key, key_of

MAGIC = b"AT"
VERSION = 1
CODEC_PICKLE = 1
NO_FLAGS = 0
#: The body refers to model instances.
REFERS = 1
#: The body begins with the values of carriers.
CARRIES = 2
#: Somebody should be notified of the end of the task. The worker sees it here, so that a claim need not read another column.
TELLS = 4

#: The first bytes of envelopes, by their flags.
PLAIN = bytes((*MAGIC, VERSION, CODEC_PICKLE, NO_FLAGS))
REFERRING = bytes((*MAGIC, VERSION, CODEC_PICKLE, REFERS))
CARRYING = tuple(bytes((*MAGIC, VERSION, CODEC_PICKLE, CARRIES | flags)) for flags in (NO_FLAGS, REFERS))
TELLING = {head: head[:-1] + bytes((head[-1] | TELLS,)) for head in (PLAIN, REFERRING, *CARRYING)}
OTHER_HEADS = (*CARRYING, *TELLING.values())
FLAGS = len(PLAIN) - 1

HEAD = slice(0, len(PLAIN))
KEY_ID = slice(HEAD.stop, HEAD.stop + 4)
MAC = slice(KEY_ID.stop, KEY_ID.stop + SIZE)
BODY = slice(MAC.stop, None)

#: The first words of contexts, by the content of the envelope.
TASK = b"task\0"
RESULT = b"result\0"


class Begun(NamedTuple):
    """The point from which the envelopes of one kind differ.

    :ivar start: how they begin.
    :ivar inner: the inner hash, which has taken in all that comes before what differs.
    :ivar outer: the outer one.
    """

    start: bytes
    inner: Any
    outer: Any


def begin(key: Key, head: bytes, kind: bytes, length: int) -> Begun:
    """Return the point from which envelopes differ.

    :param kind: how their context begins.
    :param length: the bytes of the rest of it.
    """
    start, inner = head + key.id, key.inner.copy()
    inner.update(start + (len(kind) + length).to_bytes(4, "big") + kind)
    return Begun(start, inner, key.outer)


def signing(begun: Begun, name: bytes = b"", words: bytes = b"") -> Callable[[bytes, bytes], bytes]:
    """Return a function that makes envelopes, from the id in their context and the pickle in them.

    :param name: what follows the id in the context.
    :param words: what comes before the pickle.
    """
    start, copy_inner, copy_outer, after = begun.start, begun.inner.copy, begun.outer.copy, name + words

    def sign(id: bytes, body: bytes) -> bytes:
        inner, outer = copy_inner(), copy_outer()
        inner.update(id + after + body)
        outer.update(inner.digest())
        mac: bytes = outer.digest()[:SIZE]
        return start + mac + words + body

    return sign


@functools.lru_cache(maxsize=256)
def opening(secret: str | bytes, name: str) -> Callable[[bytes, bytes], bytes | None]:
    """Return a function that returns the pickle in a plain envelope with the arguments of a task of this name, from its id.

    It returns None for all other envelopes, and for those that were not signed with this secret.
    """
    after = name.encode()
    start, inner, outer = begin(key_of(secret), PLAIN, TASK, 16 + len(after))
    copy_inner, copy_outer, same = inner.copy, outer.copy, hmac.compare_digest

    def opened(id: bytes, envelope: bytes) -> bytes | None:
        if not envelope.startswith(start):
            return None
        inner, outer, body = copy_inner(), copy_outer(), envelope[BODY]
        inner.update(id + after + body)
        outer.update(inner.digest())
        return body if same(envelope[MAC], outer.digest()[:SIZE]) else None

    return opened


@functools.lru_cache(maxsize=32)
def result_signing(secret: str | bytes, refers: bool) -> Callable[[bytes, bytes], bytes]:
    """Return a function that makes the envelopes of results, from the id and the fence in their context and the pickle.

    :param refers: whether they refer to model instances.
    """
    return signing(begin(key_of(secret), REFERRING if refers else PLAIN, RESULT, 16 + 8))


def contents(envelope: bytes) -> tuple[bytes, bool]:
    """Return the pickle in an envelope, and whether it refers to model instances."""
    body, flags = envelope[BODY], envelope[FLAGS]
    if flags & CARRIES:
        body = body[_length_of_words(envelope) :]
    return body, bool(flags & REFERS)


def carried_words(envelope: bytes) -> dict[str, Any]:
    """Return the values of carriers in an envelope that has some, with subject and metadata."""
    words: dict[str, Any] = json.loads(envelope[BODY][4 : _length_of_words(envelope)])
    return words


def _length_of_words(envelope: bytes) -> int:
    return 4 + int.from_bytes(envelope[BODY][:4], "big")
