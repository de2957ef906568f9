"""Commands that messages advise to run."""

import pytest

from autotask.exceptions import TablesMissing
from autotask.texts import advice


@pytest.mark.parametrize(
    ("alias", "command"),
    [
        ("default", "python manage.py migrate autotask"),
        ("tasks", "python manage.py migrate autotask --database tasks"),
    ],
)
def test_the_command_for_the_tables_names_their_database(alias, command):
    assert advice.migrate(alias) == command
    assert str(TablesMissing(alias=alias, command=command)).endswith(f"Run: {command}")
