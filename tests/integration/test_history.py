"""Past tasks: what is kept of a task after its result is gone, for how long, and who sees it."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

import autotask
from autotask.exceptions import ResultExpired, TaskExpired
from autotask.handle import TaskHandle
from autotask.models import PastTask, Result, TaskRecord
from autotask.store import history, prune
from autotask.store.connection import current, execute
from autotask.task import DONE, ERROR, State, new_id
from autotask.worker.pruner import PAUSE, Pruner
from tests.integration.admin.pages import TASKS, act, client_of, ended, listed, page

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = "2026-01-01T00:00Z"


def old(state: State = State.DONE, **fields) -> Result:
    """Store an ended task that is to be pruned."""
    return ended(state, **{"kept_until": LONG_AGO, "payload": b"secret", "value": b"secret", **fields})


@pytest.fixture
def pruner():
    """Prune all there is."""

    def run() -> None:
        pruner = Pruner()
        while pruner.run_once(current()) == PAUSE:
            pass

    return run


@pytest.fixture
def admin(db):
    return client_of(User.objects.create_superuser("root"))


def test_a_task_whose_result_is_pruned_stays_visible_without_arguments_and_result(pruner):
    # Given
    failed = old(State.ERROR, error_message="E" * 500, tags=["a"], subject="shop.order:1", failures=2, queue="slow")

    # When
    pruner()

    # Then
    assert Result.objects.count() == 0
    past = TaskRecord.objects.get()
    assert (past.id, past.state, past.status, past.expired) == (failed.id, State.ERROR, ERROR, True)
    assert (past.name, past.queue, past.failures, past.tags, past.subject) == (
        "some.task",
        "slow",
        2,
        ["a"],
        "shop.order:1",
    )
    assert (past.arguments, past.metadata, past.error_message) == ("", None, "E" * history.LONGEST_ERROR)
    assert (past.created_at, past.ended_at) == (failed.created_at, failed.ended_at)
    assert past.kept_until <= timezone.now()
    assert not {"payload", "value", "arguments"} & {field.name for field in PastTask._meta.get_fields()}


def test_the_handle_of_a_task_whose_result_is_gone_says_how_it_ended(pruner, settings):
    # Given
    failed, done = old(State.ERROR, error_message="ValueError: no paper"), old()
    settings.AUTOTASK_HISTORY = 60
    pruner()

    # Then
    with pytest.raises(TaskExpired, match=r"\(some.task\) .* ended as error, 20.*: ValueError: no paper") as raised:
        TaskHandle(failed.id).refresh()
    assert isinstance(raised.value, ResultExpired) and raised.value.status == ERROR
    with pytest.raises(ResultExpired) as raised:
        TaskHandle(done.id, "a name").status  # noqa: B018
    assert raised.value.status == DONE

    # And of others as before
    with pytest.raises(TaskExpired) as raised:
        TaskHandle(new_id()).refresh()
    assert type(raised.value) is TaskExpired


@pytest.mark.parametrize("off", [None, 0], ids=["none", "zero"])
def test_without_a_history_nothing_is_kept_or_asked_for(pruner, settings, off, django_assert_num_queries):
    # Given: what an earlier one has left
    settings.AUTOTASK_HISTORY = off
    PastTask.objects.create(**past(new_id()))
    gone = old()

    # When
    pruner()

    # Then
    assert PastTask.objects.count() == 0
    with django_assert_num_queries(1), pytest.raises(TaskExpired):
        TaskHandle(gone.id).refresh()


def past(id, **fields) -> dict[str, object]:
    now = timezone.now()
    values = dict.fromkeys(("created_at", "run_at", "ended_at", "gone_at"), now)
    numbers = dict.fromkeys(("priority", "attempt", "failures", "lost", "retries"), 0)
    return {"id": id, "state": State.DONE, "queue": "default", "name": "some.task", **numbers, **values, **fields}


def test_past_tasks_are_deleted_after_their_time_and_beyond_their_number(monkeypatch):
    # Given
    monkeypatch.setattr(history, "PIECE", 2)
    ids = sorted(new_id() for _ in range(5))
    for id in ids:
        PastTask.objects.create(**past(id))
    PastTask.objects.filter(id=ids[4]).update(gone_at=LONG_AGO)

    # When, Then: the one whose time is over, and then the oldest
    assert not history.trim(current(), 3600, most=5)
    assert list(PastTask.objects.order_by("id").values_list("id", flat=True)) == ids[:4]
    assert history.trim(current(), 3600, most=2)
    assert list(PastTask.objects.order_by("id").values_list("id", flat=True)) == ids[2:4]
    assert not history.trim(current(), 3600, most=2)


def test_a_refused_result_is_kept_alone(pruner):
    # Given
    needed, gone = old(), old()
    execute(current(), "CREATE TABLE receipt (task_id uuid REFERENCES autotask_result (id))")
    try:
        execute(current(), "INSERT INTO receipt VALUES (%(id)s)", {"id": needed.id})

        # When
        pruner()
    finally:
        execute(current(), "DROP TABLE receipt")

    # Then
    assert {record.id: record.expired for record in TaskRecord.objects.all()} == {needed.id: False, gone.id: True}


def test_pruning_without_a_history_is_the_statement_of_before():
    assert "history" not in prune.PRUNE and prune.prune(current()).results == 0


def test_the_list_shows_past_tasks_and_acts_on_none(pruner, admin):
    # Given
    failed, kept = old(State.ERROR), ended(State.ERROR, payload=b"x")
    pruner()

    # Then
    assert set(listed(admin, state="error")) == {failed.id, kept.id}
    assert page(admin, TASKS).count("result expired") == 1
    assert "no longer in the database (1)" in " ".join(act(admin, "retry", failed.id))
    shown = page(admin, f"{TASKS}{failed.id}/change/")
    assert "result expired" in shown and "Retry this task" not in shown and "Discard this task" not in shown
    numbers = {
        choice["word"]: choice["number"] for choice in admin.get(f"{TASKS}all/?task=some.task").context["choices"]
    }
    assert numbers["retry"] == "1"


def test_the_tasks_of_an_object_include_past_ones(pruner):
    user = User.objects.create_user("ann")
    gone = old(subject=f"auth.user:{user.pk}")
    pruner()
    assert [(record.id, record.expired) for record in autotask.tasks_of(user)] == [(gone.id, True)]
