"""Make, find and revoke the keys of the HTTP API."""

import collections
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from autotask.acts.answers import Log, keep_no_log
from autotask.exceptions import InvalidKey
from autotask.scopes import scopes_of
from autotask.store import keys as store
from autotask.store.connection import current, in_transaction
from autotask.store.keys import StoredKey
from autotask.values import PLAIN_NAME

#: The prefix of every key, so that people and programs that search for secrets recognise one. Then follow the id, by which it
#: is found, and 256 random bits.
PREFIX = "autotask"

_FORM = re.compile(rf"{PREFIX}_([1-9][0-9]{{0,17}})_([A-Za-z0-9_-]{{43}})")

#: Seconds after which a key is looked up again, since a look at each request would cost a statement. A revoked key is refused
#: after that at the latest.
TRUSTED = 1.0

#: The keys that were right lately in this process by their digests, and when they were looked up; at most this many.
MOST_RECENT = 1000
_lock = threading.Lock()
_recent: collections.OrderedDict[str, tuple[StoredKey, float]] = collections.OrderedDict()

#: Compared where there is no such key, so that an answer takes as long.
_NO_DIGEST = "0" * 64


class NewKey(NamedTuple):
    """A key that was just made.

    :ivar secret: the whole key, which exists nowhere else.
    """

    id: int
    secret: str


def create(name: str, scopes: list[str], expires: datetime | None = None, log: Log[int] = keep_no_log) -> NewKey:
    """Make a key, and return it: only its hash is stored.

    :param name: 1 to 200 letters, digits and ``_ . : < > -``; no other valid key has it.
    :param scopes: each an act and a pattern: ``submit:shop.*``, see :mod:`autotask.scopes`.
    :param expires: an aware datetime; None: never.
    :param log: is called with the id, in the same transaction.
    :raises InvalidKey: a value does not fit, or the name is taken.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise InvalidKey(problem=f"{name!r} is not a name for it: names have 1 to 200 letters, digits and _ . : < > -")
    texts = [str(scope) for scope in scopes_of(scopes)]
    if expires is not None and expires.utcoffset() is None:
        raise InvalidKey(problem=f"its end must be an aware datetime, but is the naive {expires!r}")
    if expires is not None and expires <= datetime.now(UTC):
        raise InvalidKey(problem=f"{expires.isoformat(' ', 'seconds')} is over already")
    secret, connection = secrets.token_urlsafe(32), current()

    def insert() -> int:
        id = store.insert(connection, name, _digest(secret), texts, expires)
        if id is None:
            raise InvalidKey(problem=f"there is a valid key {name!r} already; revoke it first, or take another name")
        log([id])
        return id

    id = in_transaction(connection, insert)
    return NewKey(id, f"{PREFIX}_{id}_{secret}")


def revoke(name: str, log: Log[int] = keep_no_log) -> bool:
    """Revoke the valid key of that name, and return whether there was one.

    This process refuses it at once, when the revocation is committed; others within :data:`TRUSTED` seconds.

    :param log: is called with the id, in the same transaction, if there was one.
    """
    connection = current()

    def revoke_it() -> bool:
        id = store.revoke(connection, name)
        if id is not None:
            log([id])
            transaction.on_commit(forget_recent, using=connection.alias, robust=True)
        return id is not None

    return in_transaction(connection, revoke_it)


def all_keys() -> list[StoredKey]:
    """Return all keys without their secrets, oldest first, also those that are no longer valid."""
    return store.all_keys(current())


@sensitive_variables()
def was_right(text: str) -> bool:
    """Whether a text was a valid key lately, in this process. It need not be one now."""
    form = _FORM.fullmatch(text)
    return form is not None and _digest(form[2]) in _recent


@sensitive_variables()
def verified(text: str) -> StoredKey | None:
    """Return the valid key with that text, and note its use; None if there is none.

    A key that was right is looked up again after a second.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    digest = _digest(form[2])
    known = _recent.get(digest)
    if known is not None and known[0].id == int(form[1]) and time.monotonic() < known[1] + TRUSTED:
        return known[0]
    connection = current()
    key = store.find(connection, int(form[1]))
    is_right = hmac.compare_digest(digest, key.digest if key is not None else _NO_DIGEST)
    if key is None or not is_right or not key.is_valid:
        with _lock:  # not while another thread, which has just found it right, moves it to the end
            _recent.pop(digest, None)
        return None
    if not key.is_noted:
        store.note_use(connection, key.id)
    _remember(digest, key)
    return key


def forget_recent() -> None:
    """Forget the keys that were right lately."""
    _recent.clear()


def _remember(digest: str, key: StoredKey) -> None:
    with _lock:
        _recent[digest] = (key, time.monotonic())
        _recent.move_to_end(digest)
        while len(_recent) > MOST_RECENT:
            _recent.popitem(last=False)


def _renew_in_fork() -> None:
    # Another thread may have held it.
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_in_fork)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
