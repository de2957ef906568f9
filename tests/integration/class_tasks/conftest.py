"""What the tests of task classes share."""

import pytest

from tests.integration.class_tasks import classes


@pytest.fixture
def start(start_worker, settings):
    """Start a worker with room for two tasks in each pool."""
    settings.AUTOTASK_EXECUTORS = {"of_classes": (f"{classes.__name__}.threads", 2)}
    return lambda: start_worker(threads=2, coroutines=2, processes=2)
