"""Advice that errors add after a wait without a result."""

import sys
import uuid

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.why.codes import Code
from autotask.why.look import explain

#: The reasons for which a test is to run the tasks itself.
_IN_TESTS = (Code.NO_WORKER, Code.QUEUE_UNSERVED, Code.UNCOMMITTED, Code.INACTIVE)


def of_waiting(connection: BaseDatabaseWrapper, id: uuid.UUID) -> str:
    """Return why a task has not ended, as the end of a message."""
    try:
        found = explain(connection, id)
    except (DatabaseError, InterfaceError):  # an outage: then there is nothing to add
        return ""
    told = f" {found.sentence}" + (f" {found.advice}" if found.advice else "")
    return told + (for_tests() if found.code in _IN_TESTS else "")


def for_tests() -> str:
    """Return the advice for tests, as the end of a message; "" outside of one."""
    if not _under_test():
        return ""
    return (
        " In a TestCase no worker sees the task: run it with run_pending(), or its call with immediate(), both from "
        "autotask.testing."
    )


def _under_test() -> bool:
    # The only mark that both Django's test runner and pytest-django leave behind.
    return hasattr(sys.modules.get("django.core.mail"), "outbox")
