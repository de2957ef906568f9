"""Checks of the addresses of mails and webhooks with what Django and the settings say, where they are given."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from autotask.conf import settings
from autotask.exceptions import InvalidOption
from autotask.fetching import hosts
from autotask.on_end import Webhook

#: The ports of addresses that name none.
_PORTS = {"https": 443, "http": 80}


def refuse_invalid(addresses: Sequence[str], where: str) -> None:
    """Refuse addresses to which no mail can be sent.

    :raises InvalidOption: one is not valid.
    """
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            expected = 'a mail address such as "anna@example.org"'
            raise InvalidOption(option="email", where=where, expected=expected, value=address) from None


def refuse_unlisted(webhooks: Sequence[Webhook], where: str) -> None:
    """Refuse webhooks that must not be called.

    :raises InvalidOption: the host of one is not in ``AUTOTASK_WEBHOOK_HOSTS``.
    """
    for webhook in webhooks:
        if not is_listed(webhook):
            expected = "a webhook whose host and port are in AUTOTASK_WEBHOOK_HOSTS"
            raise InvalidOption(option="on_end", where=where, expected=expected, value=webhook.url)


def is_listed(webhook: Webhook) -> bool:
    """Whether the host of a webhook is in ``AUTOTASK_WEBHOOK_HOSTS``. Its address is checked when it is called."""
    parts = urlsplit(webhook.url)
    try:
        host = hosts.normal(parts.hostname or "")
    except ValueError:
        return False
    return hosts.trust_in(host, parts.port or _PORTS[parts.scheme], settings.WEBHOOK_HOSTS) is not None
