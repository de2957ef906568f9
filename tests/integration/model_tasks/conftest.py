"""Fixtures: the tables of the models of these tests."""

import pytest

from tests import rows
from tests.integration.model_tasks import models

_hidden = rows.hide(models.ALL)


@pytest.fixture
def model_tables(transactional_db, settings):
    """The app of these tests, with its tables; they are dropped after the test."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.integration.model_tasks"]
    with rows.existing(models.ALL, _hidden):
        yield
