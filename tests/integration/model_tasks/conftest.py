"""Fixtures: the tables of the models of these tests."""

import pytest
from django.db import connection

from tests.integration.model_tasks import models


@pytest.fixture
def model_tables(transactional_db, settings):
    """The app of these tests, with its tables; they are dropped after the test."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.integration.model_tasks"]
    with connection.schema_editor() as editor:
        for model in models.ALL:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(models.ALL):
            editor.delete_model(model)
