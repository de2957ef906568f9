"""The parts of a test's worker process: it starts before Django, and so is no part of :mod:`autotask.testing`."""

#: The environment variables that name the settings module of the project, the file with what differs from it, and the
#: modules that have defined tasks.
ORIGINAL = "AUTOTASK_TEST_SETTINGS"
VALUES = "AUTOTASK_TEST_VALUES"
MODULES = "AUTOTASK_TEST_MODULES"
