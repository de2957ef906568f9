"""Seal payloads for their context with a key of the site, and make sure that a seal is genuine.

The MAC is the first half of an HMAC-SHA256 (RFC 2104) over all other bytes of the envelope and the *context*: for arguments the
id and name of the task, for results its id and fence. So a payload cannot be moved to another task, nor a result to another
attempt. The key is derived from ``AUTOTASK_SIGNING_KEY`` or ``SECRET_KEY``; older keys are accepted from the fallback settings.
"""

import hmac
import uuid
from collections.abc import Iterator

from django.conf import settings as django_settings

from autotask.conf import settings
from autotask.envelopes import BODY, HEAD, KEY_ID, MAC, MAGIC, OTHER_HEADS, PLAIN, REFERRING, RESULT, TASK, contents
from autotask.exceptions import PayloadRefused, PayloadTooNew
from autotask.setting import secret_key
from autotask.setting_types import is_secret
from autotask.signing import Key, key_of


def seal(head: bytes, body: bytes, context: bytes) -> bytes:
    """Return an envelope that is sealed with the current key.

    :param head: how it begins, see :mod:`autotask.envelopes`.
    """
    key = key_of(current_secret())
    return b"".join((head, key.id, mac_of(key, head, context, body), body))


def opened(envelope: bytes, context: bytes, id: uuid.UUID) -> tuple[bytes, bool]:
    """Return the pickle in an envelope, and whether it refers to model instances; raises as :func:`verify` does."""
    envelope = bytes(envelope)
    verify(envelope, context, id)
    return contents(envelope)


def verify(envelope: bytes, context: bytes, id: uuid.UUID) -> None:
    """Make sure that an envelope was sealed for this context, without unpickling anything.

    :param id: the id of the task, for the error.
    :raises PayloadTooNew: it is in a form that this version does not know.
    :raises PayloadRefused: it was not sealed for this context with a key of this site.
    """
    if len(envelope) < BODY.start or not envelope.startswith(MAGIC):
        raise PayloadRefused(id=id, reason="it is not a payload of autotask, or was cut off")
    head, key_id, mac, body = envelope[HEAD], envelope[KEY_ID], envelope[MAC], envelope[BODY]
    if head != PLAIN and head != REFERRING and head not in OTHER_HEADS:
        raise PayloadTooNew(id=id, reason=_strange_head(envelope))
    key = key_of(current_secret())
    if key_id == key.id and hmac.compare_digest(mac, mac_of(key, head, context, body)):
        return  # as nearly always
    reason = (
        "it was signed with a key this site does not have; "
        "if the key was changed, add the old one to SECRET_KEY_FALLBACKS or AUTOTASK_SIGNING_KEY_FALLBACKS"
    )
    for secret in _secrets():
        key = key_of(secret)
        if key_id == key.id:
            if hmac.compare_digest(mac, mac_of(key, head, context, body)):
                return
            # No break: two keys may have the same id.
            reason = "its signature does not match: it was altered, or belongs to another task"
    raise PayloadRefused(id=id, reason=reason)


def reseal(envelope: bytes, context: bytes, id: uuid.UUID) -> bytes:
    """Return an envelope sealed with the current key; nothing is unpickled. Raises as :func:`verify` does."""
    envelope = bytes(envelope)
    verify(envelope, context, id)
    return seal(envelope[HEAD], envelope[BODY], context)


def task_context(id: uuid.UUID, name: str) -> bytes:
    """Return the context of the arguments of a task."""
    return TASK + id.bytes + name.encode()


def result_context(id: uuid.UUID, fence: int) -> bytes:
    """Return the context of the result of an attempt."""
    return RESULT + id.bytes + fence.to_bytes(8, "big")


def step_context(id: uuid.UUID, step: str) -> bytes:
    """Return the context of the value of a step."""
    return b"step\0" + id.bytes + step.encode()


def current_secret() -> str | bytes:
    """Return the secret of the current key."""
    return settings.SIGNING_KEY or secret_key()


def mac_of(key: Key, head: bytes, context: bytes, body: bytes) -> bytes:
    """Return the MAC of an envelope."""
    # The length keeps context and body apart: no byte can be moved from one to the other.
    return key.sign(b"".join((head, key.id, len(context).to_bytes(4, "big"), context, body)))


def _strange_head(envelope: bytes) -> str:
    version, codec, flags = envelope[2:5]
    return f"it has version {version}, codec {codec}, flags {flags}, which this version of autotask does not know"


def _secrets() -> Iterator[str | bytes]:
    yield current_secret()
    yield from settings.SIGNING_KEY_FALLBACKS
    # A site with a signing key and payloads signed with SECRET_KEY has to list that as a fallback: the signing key may
    # well have been introduced because SECRET_KEY leaked.
    if settings.SIGNING_KEY is None:
        # Empty entries, as of a missing environment variable, are left out: anybody could sign with them.
        yield from filter(is_secret, django_settings.SECRET_KEY_FALLBACKS)
