"""Checks of mail addresses as Django checks them, where they are given."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from autotask.exceptions import InvalidOption


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
