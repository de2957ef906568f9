"""The channel on which an idle worker is handed tasks by NOTIFY, known only to those that have the key of the site.

Everybody who may connect to a database may listen and notify on any channel whose name they know. So the name is a hash of the
id of the worker, and of a secret that is derived from the key: nobody else can read the arguments there, or send a task again.
"""

import functools
import hashlib
import uuid
from typing import NamedTuple

from autotask.seals import current_secret
from autotask.signing import key_of

#: Channels of lines begin with this.
LINE = "autotask_line_"

#: The form in which tasks are handed over: workers with other code are not handed any.
_FORM = b"1"

#: So many characters of the hash are in the name of the channel. (A name has at most 63.)
_LENGTH = 32

_CHANNEL = "'{line}' || left(encode(sha256(convert_to(%(secret)s::text || {id}::text, 'UTF8')), 'hex'), {length})"


class Line(NamedTuple):
    """The words that name the channels of a site.

    :ivar secret: what is hashed with the ids.
    :ivar mark: workers are registered with it, so that callers find those with the same key and form.
    """

    secret: str
    mark: str

    def channel(self, id: uuid.UUID) -> str:
        """Return the channel of a worker."""
        return _channel_of(self.secret, id)


def channel(id: str) -> str:
    """Return an SQL expression for the channel of a worker; it needs the parameter ``secret``.

    :param id: an expression for its id.
    """
    return _CHANNEL.format(line=LINE, id=id, length=_LENGTH)


def current() -> Line:
    """Return the current words that name the channels."""
    return _of(current_secret())


@functools.lru_cache(maxsize=8)
def _channel_of(secret: str, id: uuid.UUID) -> str:
    return LINE + hashlib.sha256(f"{secret}{id}".encode()).hexdigest()[:_LENGTH]


@functools.lru_cache(maxsize=8)
def _of(secret: str | bytes) -> Line:
    key = key_of(secret)
    return Line(key.sign(b"autotask.line" + _FORM).hex(), key.sign(b"autotask.line-mark" + _FORM).hex())
