"""The part of an address that says whose progress it shows, and that anyone who has it may see that."""

import uuid

from django.core.signing import BadSignature, Signer


def token_of(id: uuid.UUID) -> str:
    """Return the token of a task: its id and a signature with SECRET_KEY. It does not expire, and shows only progress."""
    return _signer().sign(str(id))


def task_of(token: str) -> uuid.UUID | None:
    """Return the id in a token; None if it was not made by this site."""
    try:
        return uuid.UUID(_signer().unsign(token))
    except (BadSignature, ValueError):
        return None


def _signer() -> Signer:
    return Signer(salt="autotask.progress")
