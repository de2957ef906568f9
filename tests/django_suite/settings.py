"""The test project, with arguments and values that JSON can hold, as Django's tests expect it."""

from testproject.settings import *  # noqa: F403

TASKS = {"default": {"BACKEND": "tests.django_suite.backends.WaitingBackend"}}
AUTOTASK_HEARTBEAT = 1
# Its tests call what asks the database from coroutines, since the backends they know ask none.
LOGGING = {"version": 1, "disable_existing_loggers": False}
