"""Acts on all tasks that match a filter: the page that asks, and the task that does it."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.acts import tasks as acts
from autotask.admin import act_on_all
from autotask.admin.bulk_words import ACTS, Word
from autotask.admin.tasks import TaskAdmin
from autotask.context import StopRequest, TaskContext
from autotask.control import Cancel, Snooze
from autotask.handle import TaskHandle
from autotask.models import Result, Task, TaskRecord
from autotask.store import causes, matching, requeue
from autotask.store.connection import current
from autotask.store.matching import Filter
from autotask.task import State, enqueued_at
from tests.helpers import wait_until
from tests.integration.admin.pages import TASKS, act, ended, page, page_of
from tests.integration.admin.tasks import add, fail

ALL = f"{TASKS}all/"
EVERYTHING = Filter()


def run(
    word: Word, wanted: Filter = EVERYTHING, priority: int | None = None, before=None, rate=None, name="act", **more
) -> dict[str, int]:
    """Do an act here and now, in the name of the first user."""
    user = User.objects.first() or User.objects.create_superuser("ann")
    context = TaskContext(uuid.uuid4(), name, **more)
    now = (before or datetime.now(UTC)).isoformat()
    return act_on_all.act_on_all.function(
        context, word.value, act_on_all.written(wanted), priority, str(user.pk), now, 0, rate
    )


def failed(**fields) -> Result:
    """Store a task that has just failed."""
    return ended(State.ERROR, **{"payload": b"x", "ended_at": timezone.now(), **fields})


def test_all_failed_tasks_are_retried_and_their_histories_say_by_whom(transactional_db):
    # Given
    wrong = [failed() for _ in range(5)]
    others = [ended(State.CANCELLED, payload=b"x"), ended(State.DONE)]

    # When
    done = run(Word.RETRY, Filter(state=State.ERROR))

    # Then
    assert done == {"done": 5, "refused": 0}
    assert set(Task.objects.values_list("id", flat=True)) == {each.id for each in wrong}
    assert set(Result.objects.values_list("id", flat=True)) == {each.id for each in others}
    entries = LogEntry.objects.all()
    assert {entry.object_id for entry in entries} == {str(each.id) for each in wrong}
    assert {(entry.user.username, entry.change_message) for entry in entries} == {("ann", "Retried.")}


def test_all_failed_tasks_are_discarded_and_their_histories_say_by_whom(transactional_db):
    # Given
    wrong, other = [failed() for _ in range(3)], ended(State.DONE)

    # When
    done = run(Word.DISCARD, Filter(state=State.ERROR))

    # Then
    assert done == {"done": 3, "refused": 0}
    assert list(Result.objects.values_list("id", flat=True)) == [other.id]
    entries = LogEntry.objects.all()
    assert {(entry.object_id, entry.change_message) for entry in entries} == {
        (str(each.id), "Discarded.") for each in wrong
    }


def test_failed_tasks_are_retried_at_a_rate(transactional_db):
    # Given
    for _ in range(4):
        failed()

    # When
    done = run(Word.RETRY, rate=0.01)

    # Then: with the batch that takes a moment, each is due 100 seconds after the one before
    assert done == {"done": 4, "refused": 0}
    first, *others = Task.objects.order_by("run_at")
    assert first.state == State.READY and {task.state for task in others} == {State.SCHEDULED}
    assert all(task.ready_at is None for task in others)
    assert [round((task.run_at - first.run_at).total_seconds() / 100) for task in others] == [1, 2, 3]


def test_the_time_that_retrying_takes_counts(monkeypatch):
    moments = iter([100.0, 100.0, 100.05, 100.35, 100.35])
    delays = act_on_all.paced(10, lambda: next(moments))
    assert [round(next(delays), 3) for _ in range(4)] == [0.0, 0.05, 0.0, 0.0]
    assert [next(act_on_all.paced(None)) for _ in range(2)] == [0.0, 0.0]


def test_a_task_with_gates_that_is_retried_later_waits_there_when_it_is_due(transactional_db):
    failed(flow={"gates": [{"key": "limit:some", "kind": "limit", "most": 1}], "unique": None})
    assert requeue.requeue(current(), Result.objects.get().id, 60.0)
    later = Task.objects.get()
    assert (later.state, later.gate, later.passed, later.ready_at) == (State.SCHEDULED, "limit:some", 0, None)


@pytest.mark.parametrize("lost", [{"is_active": False}, {"is_superuser": False}], ids=["left", "without-right"])
def test_a_user_who_may_not_act_any_more_does_nothing(transactional_db, lost):
    # Given
    User.objects.create_superuser("ann")
    User.objects.update(**lost)
    failed()

    # Then
    with pytest.raises(Cancel, match="the user who asked for it may not do it any more"):
        run(Word.RETRY)
    assert Result.objects.count() == 1
    User.objects.all().delete()


def test_a_user_who_is_gone_does_nothing(transactional_db):
    failed()
    with pytest.raises(Cancel):
        act_on_all.act_on_all.function(
            TaskContext(uuid.uuid4(), "act"), "retry", {}, None, "4711", datetime.now(UTC).isoformat(), 0
        )


def test_the_page_asks_for_a_rate_and_refuses_what_is_none(admin):
    failed()
    assert 'name="rate"' in page(admin, f"{ALL}?state=error")
    for rate in ("0", "x", "-1", "1e3", "20000", "٣"):
        assert (
            "The rate has to be a number from 0.01 to 10000"
            in admin.post(ALL, {"act": "retry", "rate": rate}).content.decode()
        )
    assert admin.post(ALL, {"act": "retry", "rate": "2.5"}).status_code == 302
    assert ", rate=2.5" in TaskRecord.objects.get(name=act_on_all.act_on_all.name).arguments


def test_a_task_that_failed_after_the_wish_is_not_meant(transactional_db):
    failed(ended_at=datetime(2100, 1, 1, tzinfo=UTC))
    assert run(Word.RETRY) == {"done": 0, "refused": 0}


def test_a_task_that_was_enqueued_after_the_wish_is_not_meant(transactional_db):
    before = add(1, 2)
    moment = enqueued_at(before.id)
    wait_until(lambda: datetime.now(UTC) > moment + timedelta(milliseconds=1))
    after = add(3, 4)
    assert run(Word.CANCEL, before=moment) == {"done": 1, "refused": 0}
    assert list(Task.objects.values_list("id", flat=True)) == [after.id]


def test_each_act_is_done_to_the_tasks_that_match(transactional_db):
    # Given
    here, there, later = add(1, 2), fail("x"), add.using(delay=3600)(3, 4)

    # Then
    assert run(Word.RUN) == {"done": 1, "refused": 0}
    assert TaskRecord.objects.get(id=later.id).state == State.READY
    assert run(Word.PRIORITIZE, Filter(queue="elsewhere"), priority=7)["done"] == 1
    assert dict(Task.objects.values_list("id", "priority")) == {here.id: 0, there.id: 7, later.id: 0}
    assert run(Word.CANCEL, Filter(names=(add.name,)))["done"] == 2
    assert list(Task.objects.values_list("id", flat=True)) == [there.id]


def test_all_are_found_however_many_pieces_they_take(transactional_db, monkeypatch):
    # Given
    ids = {failed(tags=["a"] if number % 2 else None).id for number in range(7)}
    found = list(matching.pieces(connection, Filter(tag="a"), ACTS[Word.RETRY].states, datetime.now(UTC)))
    assert sum(map(len, found)) == 3
    monkeypatch.setattr(matching, "PIECE", 2)
    monkeypatch.setattr(matching, "ENDED", matching.ENDED.replace("LIMIT 2000", "LIMIT 2"))

    # When
    found = list(matching.pieces(connection, Filter(), ACTS[Word.RETRY].states, datetime.now(UTC)))

    # Then
    assert max(map(len, found)) == 2
    assert {id for piece in found for id in piece} == ids


def test_the_failures_of_one_cause_are_retried(transactional_db):
    # Given
    same = {failed(error_message=f"KeyError: '{number}'").id for number in range(3)}
    failed(error_message="ValueError: no paper")
    cause = next(cause for cause in causes.causes(connection) if cause.count == 3)

    # When
    run(Word.RETRY, Filter(state=State.ERROR, cause=cause.key))

    # Then
    assert set(Task.objects.values_list("id", flat=True)) == same


def test_a_stopping_worker_is_left_and_the_task_goes_on_later(transactional_db):
    failed()
    stop = StopRequest()
    stop.ask("its worker stops")
    with pytest.raises(Snooze):
        run(Word.RETRY, stop=stop)
    assert not Task.objects.exists()


def test_a_filter_survives_the_way_to_the_worker():
    id = uuid.uuid4()
    for wanted in (Filter(), Filter(State.ERROR, "q", ("a", "b"), "t", "g", "s", "c", id, id)):
        assert act_on_all.read(act_on_all.written(wanted)) == wanted


def test_the_page_counts_what_matches_and_shows_examples(admin):
    # Given
    for _ in range(3):
        ended(State.ERROR, error_message="E", name="some.task")
    add(1, 2)

    # When
    response = admin.get(f"{ALL}?state=error")

    # Then
    numbers = {choice["word"]: choice["number"] for choice in response.context["choices"]}
    assert numbers == {"retry": "3", "cancel": "0", "discard": "3", "run": "0", "prioritize": "0"}
    assert len(response.context["sample"]) == 3
    numbers = {choice["word"]: choice["number"] for choice in admin.get(f"{ALL}?q={add.name}").context["choices"]}
    assert numbers == {"retry": "0", "cancel": "1", "discard": "0", "run": "0", "prioritize": "1"}
    assert "all/?state=error" in page(admin, f"{TASKS}?state=error")


def test_the_page_of_a_cause_looks_at_the_failures_once_and_shows_examples(admin):
    # Given
    same = [failed(error_message=f"ValueError: order {number}") for number in range(13)]
    other = failed(error_message="KeyError: 7")
    [key] = [cause.key for cause in causes.causes(current()) if cause.count == 13]

    # When
    with CaptureQueriesContext(connection) as queries:
        html = page(admin, f"{ALL}?cause={key}&do=retry")

    # Then: one for the number, one for the examples
    assert len([each for each in queries if "FROM autotask_result" in each["sql"]]) == 2
    assert len(queries) <= 12
    assert html.count("tasks: 13") == 2
    shown = [each for each in same if str(each.id) in html]
    assert sorted(each.id for each in shown) == sorted(each.id for each in same)[-10:]
    assert str(other.id) not in html


def test_a_cause_that_is_gone_has_no_tasks(admin):
    html = page(admin, f"{ALL}?cause={'0' * 16}")
    assert "tasks: 0" in html and "The newest that match" not in html


def test_the_page_hands_the_act_over_to_a_task(admin, worker):
    # Given
    wrong = [failed(name="some.task") for _ in range(3)]

    # When
    response = admin.post(f"{ALL}?state=error", {"act": "retry"})

    # Then
    assert response.status_code == 302
    id = uuid.UUID(response["Location"].split("/")[-3])
    assert TaskRecord.objects.get(id=id).name == "autotask.admin.act_on_all.act_on_all"
    asked = LogEntry.objects.get(object_id=str(id))
    assert asked.change_message == "Retry: all tasks that match"
    wait_until(lambda: TaskRecord.objects.get(id=id).state == State.DONE)
    assert LogEntry.objects.filter(object_id__in=[str(each.id) for each in wrong]).count() == 3


@pytest.mark.parametrize("query", ["?nothing=1", "?state__in=1", "?q=%00", "?cause=%00"])
def test_what_makes_no_sense_is_said(admin, query):
    response = admin.get(ALL + query)
    assert response.status_code in (200, 302)


def test_a_state_that_does_not_exist_is_not_taken_for_all(admin):
    waiting = add(1, 2)
    response = admin.post(f"{ALL}?state=faild", {"act": "cancel"}, follow=True)
    assert response.redirect_chain == [(TASKS, 302)]
    assert [str(message) for message in response.context["messages"]] == ["The filter in the address is not valid."]
    assert list(TaskRecord.objects.values_list("id", flat=True)) == [waiting.id]


@pytest.mark.parametrize(
    "form", [{}, {"act": "drop"}, *({"act": "prioritize", "priority": text} for text in ("", "x", "101", "--5", "-"))]
)
def test_a_form_that_makes_no_sense_does_nothing(admin, form):
    waiting = add(1, 2)
    response = admin.post(ALL, form)
    assert response.status_code == 200
    assert "Choose what to do" in response.content.decode() or "whole number" in response.content.decode()
    assert list(Task.objects.values_list("id", "priority")) == [(waiting.id, 0)]


def test_only_those_who_may_act_on_all_may(staff, admin, monkeypatch):
    failed()
    assert staff("view_taskrecord", "retry_task").get(ALL).status_code == 403
    assert staff("view_taskrecord", "act_on_all_tasks").get(ALL).status_code == 403
    assert "all/" not in page(staff("view_taskrecord", "retry_task"), TASKS)
    one = staff("view_taskrecord", "retry_task", "act_on_all_tasks")
    assert [choice["word"] for choice in one.get(ALL).context["choices"]] == ["retry"]
    assert one.post(ALL, {"act": "cancel"}).status_code == 200

    # And nobody where the admin of the project leaves tasks out
    monkeypatch.setattr(TaskAdmin, "get_queryset", lambda self, request: TaskRecord.objects.none())
    assert admin.get(ALL).status_code == 403


def test_an_act_on_all_is_retried_only_by_those_who_may_ask_for_one(staff):
    # Given: one that was cancelled
    one = staff("view_taskrecord", "retry_task")
    id = act_on_all.enqueue(Word.RETRY, EVERYTHING, None, User.objects.get().pk, 0)
    acts.cancel([id])

    # When, Then
    address = page_of(TaskHandle(id)).replace("/change/", "/retry/")
    assert one.post(address).status_code == 403
    assert TaskRecord.objects.get(id=id).state == State.CANCELLED
    assert staff("view_taskrecord", "retry_task", "act_on_all_tasks").post(address).status_code == 302
    assert TaskRecord.objects.get(id=id).state == State.READY


def test_an_act_on_all_is_retried_only_by_those_who_may_do_it(staff):
    # Given: somebody with more rights has asked for it, and it was cancelled
    one = staff("view_taskrecord", "retry_task", "act_on_all_tasks")
    other = User.objects.create_superuser("root")
    id = act_on_all.enqueue(Word.DISCARD, EVERYTHING, None, other.pk, 0)
    acts.cancel([id])

    # When
    refused = one.post(page_of(TaskHandle(id)).replace("/change/", "/retry/"))
    run(Word.RETRY, name=act_on_all.act_on_all.name)

    # Then
    assert refused.status_code == 403
    assert TaskRecord.objects.get(id=id).state == State.CANCELLED


def test_a_failed_task_is_discarded_by_its_button(admin, staff):
    handle, other = failed(), failed()
    assert "Discard this task" not in page(staff("view_taskrecord"), page_of(handle))
    assert staff("view_taskrecord", "retry_task").post(f"{TASKS}{handle.id}/discard/").status_code == 403
    assert "Discard this task" in page(admin, page_of(handle))
    response = admin.post(f"{TASKS}{handle.id}/discard/")
    assert response["Location"] == TASKS
    assert "1 task was discarded." in page(admin, TASKS)
    assert Result.objects.get().id == other.id
    assert act(admin, "discard", other.id) == ["1 task was discarded."]


def test_a_scheduled_task_is_run_now_by_its_button(admin, staff):
    handle = add.using(delay=3600)(1, 2)
    assert "Run this task now" not in page(staff("view_taskrecord"), page_of(handle))
    assert staff("view_taskrecord").post(f"{TASKS}{handle.id}/run/").status_code == 403
    assert "Run this task now" in page(admin, page_of(handle))
    admin.post(f"{TASKS}{handle.id}/run/")
    assert "1 task is due now." in page(admin, page_of(handle))
    assert Task.objects.get(id=handle.id).state == State.READY
