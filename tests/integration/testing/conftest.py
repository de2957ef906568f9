"""What the tests of the testing tools share."""

import pytest

from tests.integration.testing import tasks


@pytest.fixture(autouse=True)
def nothing_ran():
    """Forget what ran in other tests."""
    tasks.ran.clear()
