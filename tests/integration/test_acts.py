"""Acts answer for each task or schedule: what became of it, or why nothing did."""

import pytest
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.acts import schedules, tasks
from autotask.acts.answers import Answer, Refusal
from autotask.models import Schedule
from autotask.store.connection import current
from autotask.task import State, new_id
from autotask.tasks import delayed_task, periodic_task
from tests.integration.store.shapes import put, sign_on, state, take

pytestmark = pytest.mark.django_db(transaction=True)


@periodic_task(seconds=3600)
def sweep() -> None:
    pass


@delayed_task(unique=True)
def sync(account_id: int) -> None:
    pass


def register(name: str) -> None:
    now = timezone.now()
    Schedule.objects.create(
        name=name, task=name, spec="every 3600 s", registered_at=now, declared_at=now, next_tick=now
    )


def test_each_task_is_cancelled_or_asked_for_or_answers_why_not():
    # Given
    [running] = put()
    take(sign_on())
    [waiting], [ended], gone = put(), put(), new_id()
    tasks.cancel([ended])

    # When
    answers = {answer.key: answer for answer in tasks.cancel([running, waiting, ended, gone])}

    # Then
    assert answers == {
        running: Answer(running, is_asked=True),
        waiting: Answer(waiting),
        ended: Answer(ended, refused=State.CANCELLED),
        gone: Answer(gone, refused=Refusal.GONE),
    }
    assert [answers[id].is_done for id in (running, waiting, ended, gone)] == [False, True, False, False]


def test_running_tasks_are_cancelled_one_a_transaction():
    # Given
    running = put(3)
    take(sign_on())

    # When
    noted = []
    with CaptureQueriesContext(current()) as queries:
        tasks.cancel(running, log_asked=noted.append)

    # Then
    assert noted == [[id] for id in sorted(running)]
    assert sum(query["sql"] == "COMMIT" for query in queries) == 1 + 3, (
        "one for those that wait, of which there are none"
    )


def test_each_task_is_retried_or_answers_why_not():
    # Given
    [ended], [waiting], gone = put(), put(), new_id()
    tasks.cancel([ended])

    # When
    noted = []
    answers = {answer.key: answer.refused for answer in tasks.retry([ended, waiting, gone], noted.append)}

    # Then
    assert answers == {ended: None, waiting: State.READY, gone: Refusal.GONE}
    assert (state(ended), noted) == (State.READY, [[ended]])


def test_a_task_is_not_retried_while_another_one_has_its_unique_key():
    first = sync(7)
    first.cancel()
    second = sync(7)
    assert tasks.retry([first.id]) == [Answer(first.id, refused=Refusal.KEY_TAKEN)]
    second.cancel()
    assert tasks.retry([first.id]) == [Answer(first.id)]
    assert tasks.cancel([second.id]) == [Answer(second.id, refused=State.CANCELLED)]


def test_each_schedule_is_paused_resumed_and_run_or_answers_why_not():
    # Given
    register(sweep.name)
    register("not.in.code")

    # Then
    assert schedules.pause([sweep.name, "unknown"], "ada") == [
        Answer(sweep.name),
        Answer("unknown", Refusal.NOT_REGISTERED),
    ]
    assert schedules.pause([sweep.name], "bob") == [Answer(sweep.name, Refusal.PAUSED)]
    assert schedules.resume([sweep.name]) == [Answer(sweep.name)]
    assert schedules.resume([sweep.name]) == [Answer(sweep.name, Refusal.NOT_PAUSED)]
    run, refused = schedules.run([sweep.name, "not.in.code"])
    assert (run.is_done, state(run.enqueued)) == (True, State.READY)
    assert refused == Answer("not.in.code", Refusal.NOT_IN_CODE)
