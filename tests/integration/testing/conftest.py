"""What the tests of the testing tools share."""

import pytest

from autotask import registry
from tests.integration.testing import tasks

OWN = ("tests.integration.testing.", "tests.integration.django_tasks.", "django.", "autotask.")


@pytest.fixture(autouse=True)
def nothing_ran():
    """Forget what ran in other tests."""
    tasks.ran.clear()


@pytest.fixture(autouse=True)
def no_tasks_of_other_tests(monkeypatch):
    """Know those tasks only that the settings of these tests are made for: others ask for executors of their own."""
    known = {name: task for name, task in registry._definitions.items() if task.function.__module__.startswith(OWN)}
    monkeypatch.setattr(registry, "_definitions", known)
