"""The signed POST about an ended task, as Standard Webhooks describes it (standardwebhooks.com)."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder

from autotask.conf import Settings, settings
from autotask.exceptions import InvalidSetting, WebhookRefused
from autotask.fetching import fetch
from autotask.notifications.ended import Ended
from autotask.on_end import Webhook
from autotask.task import Status

#: Bytes of JSON above which a result is left out: the receiver can ask for it.
LARGEST_RESULT = 256 * 1024

#: Bytes of an answer that are read at most; nobody looks at them.
LARGEST_ANSWER = 64 * 1024


def send(ended: Ended, webhook: Webhook) -> None:
    """Call a webhook.

    :raises FetchRefused: its host is not allowed.
    :raises FetchFailed: there was no answer.
    :raises WebhookRefused: the answer was not a success. Redirects are not followed.
    :raises InvalidSetting: there is no secret to sign it with.
    """
    post(webhook.url, webhook.secret, message_id(ended), document(ended))


def post(url: str, secret: str | None, id: str, content: Mapping[str, Any]) -> None:
    """Call a webhook with a message; raises as :func:`send` does.

    :param secret: the name of the setting with the secret; None: ``AUTOTASK_WEBHOOK_SECRET``.
    """
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", **signed(id, body, keys(secret))}
    answer = fetch(
        "POST",
        url,
        hosts=settings.WEBHOOK_HOSTS,
        timeout=settings.WEBHOOK_TIMEOUT,
        max_bytes=LARGEST_ANSWER,
        headers=headers,
        body=body,
    )
    if not 200 <= answer.status < 300:
        raise WebhookRefused(status=answer.status)


def document(ended: Ended) -> dict[str, Any]:
    """Return the body to send: the kind of event, when it happened, and the task."""
    task = ended.task
    data: dict[str, Any] = {"id": str(task.id), "name": task.name, "status": ended.status.value}
    if ended.status is Status.DONE:
        data |= _result(ended)
    data["error"] = task.error_message
    data["created_at"] = task.created_at.isoformat()
    ended_at = task.ended_at.isoformat() if task.ended_at else None
    return {"type": f"task.{ended.status.value}", "timestamp": ended_at, "data": data | {"ended_at": ended_at}}


def message_id(ended: Ended) -> str:
    """Return the id of the message: the same one for each try, and another one if the task runs and ends again."""
    at = 0 if ended.task.ended_at is None else int(ended.task.ended_at.timestamp() * 1e6)
    return f"msg_{ended.task.id.hex}_{at:x}"


def signed(id: str, body: bytes, keys: Sequence[bytes]) -> Mapping[str, str]:
    """Return the headers that prove who sends the body, with a signature by each key."""
    timestamp = str(int(time.time()))
    content = b".".join((id.encode(), timestamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def keys(name: str | None) -> Sequence[bytes]:
    """Return the keys in a setting: one, or several while a secret is being replaced.

    :param name: the name of the setting; None: ``AUTOTASK_WEBHOOK_SECRET``.
    :raises InvalidSetting: it has none, or not in the right form.
    """
    usual = Settings.WEBHOOK_SECRET
    given = getattr(django_settings, name or usual.name, None)
    try:
        found = usual.kind.read(given)
    except (ValueError, TypeError):
        found = ()
    if not found:
        shown = None if given is None else "•••"
        raise InvalidSetting(name=name or usual.name, expected=usual.kind.expected, value=shown)
    return found


def _result(ended: Ended) -> dict[str, Any]:
    """Return the result, if JSON can hold it."""
    if ended.problem:
        return {}
    try:
        text = json.dumps(ended.value, cls=DjangoJSONEncoder, allow_nan=False)
        return {"result": json.loads(text)} if len(text) <= LARGEST_RESULT else {}
    except (TypeError, ValueError, RecursionError):
        return {}
