"""The keys that payloads are signed with, each made of a secret of the site."""

import functools
import hashlib
from typing import Any, NamedTuple

from autotask.exceptions import InvalidSetting
from autotask.setting_types import is_secret

#: The paddings that HMAC mixes into the key, for the inner and the outer hash (RFC 2104).
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


#: Bytes of a MAC: the first half of the hash, the least that RFC 2104 recommends (in section 5). Nobody guesses one
#: of 2^128, and each task has two of them, in its arguments and in its result.
SIZE = 16


class Key(NamedTuple):
    """A key for HMAC-SHA256-128: its two hashes after they have taken in the key, to be copied.

    That takes half the time of copying an ``hmac.HMAC``, and each call of a task is signed.

    :ivar id: the id by which envelopes name it.
    """

    inner: Any
    outer: Any
    id: bytes

    def sign(self, message: bytes) -> bytes:
        """Return the HMAC of a message."""
        inner, outer = self.inner.copy(), self.outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        digest: bytes = outer.digest()
        return digest[:SIZE]


@functools.lru_cache(maxsize=32)
def key_of(secret: Any) -> Key:
    """Return the key that is made of a secret.

    :raises InvalidSetting: the secret is blank. Those of autotask's settings cannot be, so it is Django's.
    """
    if not is_secret(secret):
        shown = secret if isinstance(secret, str | bytes) else "•••"  # Of another type, it may still be a secret.
        raise InvalidSetting(name="SECRET_KEY", expected="a string that is not empty or blank", value=shown)
    raw = secret.encode() if isinstance(secret, str) else secret
    key = hashlib.sha256(b"autotask.payload.v1\0" + raw).digest()
    block = key.ljust(hashlib.sha256().block_size, b"\0")
    id = hashlib.sha256(b"autotask.key-id\0" + key).digest()[:4]
    return Key(hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER)), id)
