"""How PostgreSQL plans the statement that offers tasks to clients."""

import pytest

from autotask.store import prepared, pull
from autotask.store.connection import current, rows
from tests.integration.st2app.models import HelloTask

#: PostgreSQL plans a statement for given values as often as this before it compares that with one plan for any values.
FOR_VALUES = 5


@pytest.mark.parametrize("most", [1, 16])
def test_the_statement_that_offers_tasks_is_not_planned_again_each_time(tables, most):
    # Given: of one channel, one name and a small limit, PostgreSQL would expect less than of any
    current().close()
    for number in range(10):
        HelloTask.objects.create(name=str(number))

    # When
    for _ in range(prepared.OFTEN + FOR_VALUES + 3):
        pull.take(current(), ["default"], [HelloTask._meta.label_lower], most=most, seconds=0.0)

    # Then
    asked = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE %(of)s"
    assert rows(current(), asked, {"of": "%WITH RECURSIVE lane%"}) == [(FOR_VALUES, 4)]
