"""The testing tools work for Django's own tasks as well."""

from importlib.util import find_spec

import django
import pytest

if django.VERSION < (6, 0) and not find_spec("django_tasks"):
    pytest.skip("there are no tasks of Django", allow_module_level=True)

from autotask.django_tasks import task_enqueued, task_finished, task_started  # noqa: E402 - as below
from tests.integration.django_tasks import tasks  # noqa: E402 - cannot be imported where there are none

pytestmark = pytest.mark.django_db


def test_a_call_is_found_and_run(autotask_captured):
    # When
    result = tasks.echo.enqueue([1])

    # Then
    call = autotask_captured.assert_enqueued(tasks.echo, args=([1],))
    assert (call.args, call.kwargs, str(call.handle.id)) == (([1],), {}, result.id)
    with pytest.raises(AssertionError, match=r"echo\(\[2\]\) was not enqueued.\nNearest: .*echo\(value=\[1\]\)"):
        autotask_captured.assert_enqueued(tasks.echo, args=([2],))
    autotask_captured.run_pending()
    result.refresh()
    assert result.return_value == [1]


def test_a_call_runs_at_once(autotask_immediate):
    result = tasks.echo.enqueue([1])
    result.refresh()
    assert result.return_value == [1]


def test_a_call_that_runs_at_once_sends_the_signals_of_django_in_their_order(autotask_immediate):
    # Given
    heard = []
    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    receivers = {name: lambda task_result, word=name, **_: heard.append((word, task_result.id)) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name])

    # When
    result = tasks.echo.enqueue([1])

    # Then
    for name, signal in signals.items():
        signal.disconnect(receivers[name])
    assert heard == [("enqueued", result.id), ("started", result.id), ("finished", result.id)]
