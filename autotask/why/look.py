"""Look at the database, and explain."""

import contextlib
import uuid
from datetime import UTC, datetime

from django.db import ProgrammingError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import translation

from autotask.store import errors, uncommitted
from autotask.store.situation import read_situation
from autotask.why import engine
from autotask.why.explanation import Explanation
from autotask.why.public import anonymous
from autotask.why.site import site


def explain(
    connection: BaseDatabaseWrapper, id: uuid.UUID, *, public: bool = False, translated: bool = False
) -> Explanation:
    """Return why a task does not run now, or what it does; for any id, and also before ``migrate``.

    It is one statement, and takes no lock.

    :param connection: to the database of autotask, see :func:`autotask.store.connection.current`.
    :param public: whether to leave out names of hosts and people, and other tasks.
    :param translated: whether to explain in the language of the user; otherwise in English, like commands and errors.
    """
    with contextlib.nullcontext() if translated else translation.override(None):
        return _explain(connection, id, public)


def _explain(connection: BaseDatabaseWrapper, id: uuid.UUID, public: bool) -> Explanation:
    # An error would break the caller's transaction.
    careful = transaction.atomic(using=connection.alias) if connection.in_atomic_block else contextlib.nullcontext()
    facts = site(datetime.now(UTC))
    try:
        with careful:
            situation = read_situation(connection, id)
    except ProgrammingError as error:
        if not errors.is_missing(error):
            raise
        return engine.unmigrated(id, facts)
    if situation.task is None and uncommitted.find(id):
        return engine.uncommitted(id, facts)
    return engine.decide(anonymous(situation) if public else situation, facts)
