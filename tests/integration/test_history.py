"""Past tasks: what is kept of a task after its result is gone, for how long, and who sees it."""

import re

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

import autotask
from autotask.acts import keys
from autotask.exceptions import ResultExpired, TaskExpired
from autotask.handle import TaskHandle
from autotask.management.console import NOT_FOUND
from autotask.models import PastTask, Result, TaskRecord
from autotask.store import history, prune
from autotask.store.connection import current, execute
from autotask.store.survey import Chore
from autotask.task import DONE, ERROR, State, new_id
from autotask.worker.chores import Chores
from autotask.worker.pruner import PAUSE, Pruner
from tests.integration.admin.pages import TASKS, act, client_of, ended, listed, page
from tests.integration.api import tasks
from tests.integration.commands.command import manage

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = "2026-01-01T00:00Z"


def old(state: State = State.DONE, **fields) -> Result:
    """Store an ended task that is to be pruned."""
    return ended(state, **{"kept_until": LONG_AGO, "payload": b"secret", "value": b"secret", **fields})


@pytest.fixture
def pruner():
    """Prune all there is."""

    def run() -> None:
        pruner = Pruner(Chores(Chore))
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


def test_the_commands_say_how_a_past_task_has_ended(pruner):
    # Given
    failed, done = old(State.ERROR, error_message="ValueError: no paper", tags=["a"]), old()
    pruner()

    # Then
    shown, document = manage("show", failed.id).out, manage("show", failed.id, "--json").json
    assert re.search(r"^state +error, result expired$", shown, re.M)
    assert re.search(r"^result +gone since .+, with arguments and attempts$", shown, re.M)
    assert re.search(r"^error +ValueError: no paper$", shown, re.M)
    assert "executor" not in shown and "arguments  " not in shown
    assert (document["status"], document["result_expired"], document["tags"]) == ("error", True, ["a"])
    assert (document["executor"], document["arguments"], document["attempts"]) == (None, "", [])

    # And
    why = manage("why", failed.id).out
    assert why.startswith("error: It ended in an error at ") and "no paper; its result is gone." in why
    assert "retry" not in why
    assert manage("why", str(done.id)[:23]).out.startswith("done: Done at ")

    # And
    listed = manage("list").out
    assert re.search(rf"^{failed.id} +error .* result expired: ValueError: no paper$", listed, re.M)
    assert re.search(rf"^{done.id} +done .* result expired$", listed, re.M)
    assert [task["id"] for task in manage("list", "--json", "--tag", "a").json["tasks"]] == [str(failed.id)]

    # And
    for word in ("retry", "cancel", "discard"):
        refused = manage(word, failed.id)
        assert (refused.code, refused.err) == (
            NOT_FOUND,
            f"Task {failed.id} has ended, and its result is gone, with its arguments.",
        )


def test_a_handle_explains_a_past_task(pruner):
    gone = old(State.CANCELLED, error_message="cancelled by ann while it ran")
    pruner()
    found = TaskHandle(gone.id).why()
    assert (found.code, found.advice) == ("cancelled", "")
    assert found.sentence.endswith("cancelled by ann while it ran; its result is gone.")


def test_a_task_restored_from_a_backup_is_no_past_one(pruner):
    # Given: both rows
    kept = ended(State.DONE, payload=b"x")
    PastTask.objects.create(**past(kept.id, state=State.ERROR))

    # Then
    assert manage("show", kept.id, "--json").json["result_expired"] is False
    assert manage("show", str(kept.id)[:23], "--json").json["status"] == "done"
    assert TaskHandle(kept.id).why().code == "done"


def test_the_api_says_how_a_past_task_has_ended_and_not_who_has_cancelled_it(pruner, client, settings):
    # Given
    settings.ROOT_URLCONF, settings.AUTOTASK_API_TASKS = "tests.integration.api.urls", [tasks.listed.name]
    gone = old(State.CANCELLED, name=tasks.listed.name, error_message="cancelled by ann while it ran")
    hidden = old(name="other.task")
    pruner()
    key = keys.create("reader", ["read", "retry:api.listed", "traceback"])
    stranger = keys.create("stranger", ["read:another.task"])

    def ask(address, key=key, method="get"):
        return getattr(client, method)(address, headers={"Authorization": f"Bearer {key.secret}"})

    # Then
    for response in (
        ask(f"/tasks/{gone.id}/"),
        ask(f"/tasks/{gone.id}/?wait=5"),
        ask(f"/tasks/{gone.id}/result"),
        ask(f"/tasks/{gone.id}/retry", method="post"),
    ):
        problem = response.json()
        assert (response.status_code, problem["code"], problem["task_status"]) == (410, "expired", "cancelled")
        assert problem["detail"] == f"The task ended as cancelled, {problem['ended_at']}. Its result is gone."
    reason = ask(f"/tasks/{gone.id}/reason")
    assert reason.status_code == 200 and reason.json()["code"] == "cancelled" and "ann" not in reason.content.decode()
    assert ask(f"/tasks/{gone.id}/logs").json()["code"] == "no_logs"

    # And
    assert ask(f"/tasks/{hidden.id}/").status_code == 404
    assert ask(f"/tasks/{gone.id}/", stranger).status_code == 403

    # When
    settings.AUTOTASK_HISTORY = None

    # Then
    assert ask(f"/tasks/{gone.id}/").json()["code"] == "not_found"
