"""Which tasks are offered to whom, and when; and how a client waits for them."""

import re
import sys
import threading
import time
from dataclasses import replace

from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from autotask.acts import pausing
from autotask.api.simpletask2 import offers
from autotask.handle import TaskHandle
from autotask.models import Task
from autotask.store import notify, pull
from autotask.store.connection import current, execute
from autotask.task import RUNNING, State
from tests.gates import gate
from tests.helpers import ended, patient, wait_until
from tests.integration.st2app.models import (
    AtomicTask,
    DropTask,
    HelloTask,
    InsideTask,
    LanguageTask,
    LimitedTask,
    RatedTask,
    TextTask,
    ThreeTask,
    UuidTask,
)
from tests.integration.store.shapes import edit


def hello(name="Ann", **values):
    return HelloTask.objects.create(name=name, **values)


def lapsed():
    """Let the time of all offers be over."""
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '31 s' WHERE state = 1")


def overdue():
    """Let the time be over that clients have for the next step."""
    edit("UPDATE autotask_task SET run_at = run_at - interval '301 s' WHERE state = 0")


def in_thread(act):
    """Run something in a thread with connections of its own, and return a function that waits for its value."""
    values = []

    def run():
        try:
            values.append(act())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()

    def value():
        thread.join(patient(20))
        return values[0]

    return value


# --- which ----------------------------------------------------------------------------------------------------------


def test_the_oldest_task_comes_first_and_each_is_offered_once(puller):
    rows = [hello(str(number)) for number in range(3)]
    assert [puller.pull() for _ in range(4)] == [*(row.task_info for row in rows), None]


def test_a_client_gets_only_what_is_in_its_channels(puller):
    north, south, west = (hello(region=region) for region in ("north", "south", "west"))
    assert puller.pull("south", "north") == north.task_info
    assert puller.pull("south", "north") == south.task_info
    assert puller.pull("south", "north") is None
    assert puller.pull(" west ", "") == west.task_info


def test_a_task_of_higher_priority_comes_first(puller):
    low, high = hello("low"), hello("high")
    edit("UPDATE autotask_task SET priority = 5 WHERE id = %s", (high.task_id,))
    assert [puller.pull(), puller.pull()] == [high.task_info, low.task_info]


def test_keys_of_any_type(puller, worker):
    for row in (UuidTask.objects.create(), TextTask.objects.create(word="a b/ü")):
        task_info = puller.pull()
        assert task_info == f"{row._meta.label_lower}:{row.pk}"
        assert puller.step(task_info)["continue_flag"] is False


def test_no_worker_takes_a_remote_task_by_itself(puller, worker):
    row = hello()
    inside = HelloTask.objects.filter(pk=row.pk)
    time.sleep(0.5)
    assert inside.filter(done_time=None).exists()
    assert puller.pull() == row.task_info


def test_a_task_of_the_site_is_not_offered_and_not_run_by_a_client(puller):
    row = InsideTask.objects.create()
    assert puller.pull("nobody_serves_this") is None
    assert puller.refused(row.task_info) == (2910013, f"task {row.task_info} locked by another worker.")


def test_a_row_that_is_not_committed_is_not_offered(puller):
    with transaction.atomic():
        hello()
        assert in_thread(puller.pull)() is None
        transaction.set_rollback(True)
    assert puller.pull() is None


def test_a_paused_channel_is_not_offered(puller):
    row = hello(region="north")
    pausing.pause(queue="north")
    assert puller.pull("north") is None
    pausing.resume(queue="north")
    assert puller.pull("north") == row.task_info


def test_a_row_that_was_deleted_is_given_to_a_worker_which_discards_it(puller, worker):
    gone, row = hello("gone"), hello("there")
    HelloTask.objects.filter(pk=gone.pk).delete()
    assert puller.pull() == gone.task_info
    assert puller.refused(gone.task_info)[0] == 2910004
    assert ended(TaskHandle(gone.task_id)) == "cancelled"
    assert puller.pull() == row.task_info


# --- when -----------------------------------------------------------------------------------------------------------


def test_an_offer_lapses_after_half_a_minute(puller):
    row = hello()
    assert puller.pull() == row.task_info
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '28 s'")
    assert puller.pull() is None
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '2.1 s'")
    assert puller.pull() == row.task_info


def test_a_client_that_waits_gets_a_task_as_soon_as_it_is_committed(puller, settings):
    settings.AUTOTASK_PULL_TIMEOUT = patient(10)
    answers = [in_thread(lambda: (puller.pull(), time.monotonic())) for _ in range(2)]
    time.sleep(0.3)  # Both listen by now; if one does not, it finds the row by its first look.
    rows, began = [], time.monotonic()
    for number in range(2):
        rows.append(hello(str(number)))
    found = [answer() for answer in answers]
    assert {task_info for task_info, _ in found} == {row.task_info for row in rows}
    assert max(when for _, when in found) - began < patient(0.9)  # before the look that comes each second


def test_a_client_that_waits_gets_a_task_whose_offer_lapses(puller, settings, monkeypatch):
    settings.AUTOTASK_PULL_TIMEOUT = patient(10)
    row = hello()
    pull.take(current(), ["default"], ["st2app.hellotask"], seconds=1.0)
    assert puller.pull() == row.task_info


def test_waiting_takes_one_statement_a_second_and_no_transaction(puller, settings):
    settings.AUTOTASK_PULL_TIMEOUT = 0
    assert [puller.pull() for _ in range(3)] == [None] * 3  # By then, the statement is prepared.
    settings.AUTOTASK_PULL_TIMEOUT = 2.5
    with CaptureQueriesContext(connection) as queries:
        began = time.monotonic()
        assert puller.pull() is None
        assert 2.4 < time.monotonic() - began < patient(4)
    # One look, LISTEN, four looks (now, after one second, after two, at the end), UNLISTEN.
    assert len(queries) <= 7, [query["sql"][:60] for query in queries]


def test_a_client_waits_outside_of_transactions_whatever_atomic_requests_says(puller, worker, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    row = AtomicTask.objects.create()
    assert puller.pull() == row.task_info
    assert puller.step(row.task_info)["data"] is True
    assert HelloTask.objects.count() == 1
    assert puller.pull() is not None


# --- in advance -----------------------------------------------------------------------------------------------------


def test_while_a_client_asks_often_one_statement_offers_several_tasks(puller, monkeypatch):
    monkeypatch.setattr(offers, "KEEP", patient(10))
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    rows = [hello(str(number)) for number in range(18)]
    taken = [puller.pull()]
    with CaptureQueriesContext(connection) as queries:
        taken += [puller.pull() for _ in range(16)]
    assert taken == [row.task_info for row in rows[:17]]
    assert statements(queries) == 2
    with CaptureQueriesContext(connection) as queries:
        assert puller.pull() == rows[17].task_info
    assert not queries


def statements(queries):
    """Return how many statements there are; the third time, one is prepared."""
    return len([query for query in queries if not re.search("PREPARE|pg_backend_pid", query["sql"])])


def test_the_next_ones_are_taken_after_an_answer_when_few_are_left(puller, monkeypatch):
    monkeypatch.setattr(offers, "KEEP", patient(10))
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    rows = [hello(str(number)) for number in range(60)]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[:2]]
    waited, after, real = [], [], offers.Offers.fill

    def fill(self, *args):
        with CaptureQueriesContext(connection) as queries:
            real(self, *args)
        after.append(statements(queries))

    monkeypatch.setattr(offers.Offers, "fill", fill)
    for row in rows[2:50]:
        with CaptureQueriesContext(connection) as queries:
            assert puller.pull() == row.task_info
        waited.append(statements(queries) - after[-1])
        (stock,) = offers.offers._stocks.values()
        assert offers.FEW <= len(stock.offered) <= offers.MOST
    assert set(waited) == {0}
    assert sum(after) == 4


def test_nothing_is_taken_after_the_answer_to_a_client_that_asks_rarely(puller, monkeypatch):
    monkeypatch.setattr(offers, "AHEAD", 0.0)
    for number in range(8):
        hello(str(number))
    for _ in range(4):
        with CaptureQueriesContext(connection) as queries:
            assert puller.pull()
        assert statements(queries) == 1


def test_an_error_after_the_answer_is_logged_and_the_next_request_takes_them(puller, monkeypatch, caplog):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    rows = [hello(str(number)) for number in range(4)]
    assert puller.pull() == rows[0].task_info
    monkeypatch.setattr(offers.Offers, "fill", lambda *args: 1 / 0)
    assert puller.pull() == rows[1].task_info
    assert "after an answer to a client" in caplog.text
    assert puller.pull() == rows[2].task_info


def test_the_larger_priorities_come_first_among_those_taken_in_advance(puller, monkeypatch):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    first, *low = (hello(str(number)) for number in range(3))
    high = [hello("high") for _ in range(2)]
    assert puller.pull() == first.task_info
    for row in high:
        edit("UPDATE autotask_task SET priority = 5 WHERE id = %s", (row.task_id,))
    assert [puller.pull() for _ in range(4)] == [row.task_info for row in (*high, *low)]


def test_what_nobody_asks_for_is_given_back_and_a_client_of_another_process_gets_it(puller, monkeypatch, settings):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    settings.AUTOTASK_PULL_TIMEOUT = patient(20)
    rows = [hello(str(number)) for number in range(4)]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[:2]]
    monkeypatch.setattr(offers, "offers", offers.Offers())  # as in another process
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[2:]]


def test_what_is_given_back_is_ready_since_the_same_moment(puller, monkeypatch):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    rows = [hello(str(number)) for number in range(4)]
    before = dict(Task.objects.values_list("id", "ready_at"))
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[:2]]

    def is_back():
        now = dict(Task.objects.values_list("id", "ready_at"))
        return all(now[row.task_id] == before[row.task_id] for row in rows[2:])

    wait_until(is_back, what="the tasks that were taken in advance")
    assert not any(Task.objects.get(id=row.task_id).ready_at == before[row.task_id] for row in rows[:2])


def test_what_a_process_has_taken_that_was_killed_is_offered_again_after_half_a_minute(puller, monkeypatch):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    monkeypatch.setattr(offers.Offers, "_return_later", lambda self: None)  # it withdraws nothing any more
    rows = [hello(str(number)) for number in range(4)]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[:2]]
    monkeypatch.setattr(offers, "offers", offers.Offers())  # another process
    assert puller.pull() is None
    lapsed()
    assert {puller.pull() for _ in range(4)} == {row.task_info for row in rows}


def test_what_was_not_given_back_in_time_is_not_offered_twice(puller, monkeypatch):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    monkeypatch.setattr(offers.Offers, "_return_later", lambda self: None)  # as where no thread can run
    rows = [hello(str(number)) for number in range(4)]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[:2]]
    (stock,) = offers.offers._stocks.values()
    wait_until(lambda: time.monotonic() >= stock.until)
    lapsed()
    with monkeypatch.context() as other_process:
        other_process.setattr(offers, "offers", offers.Offers())
        assert {puller.pull() for _ in range(4)} == {row.task_info for row in rows}
    assert puller.pull() is None


def test_a_task_that_somebody_has_locked_holds_up_no_withdrawal(puller, other_connection):
    rows = [hello(str(number)) for number in range(2)]
    taken = pull.take(current(), ["default"], [HelloTask._meta.label_lower], most=2)
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM autotask_ready WHERE id = %s FOR UPDATE", (taken[0].id,))
    execute(current(), f"SET lock_timeout = '{patient(1)} s'")
    try:
        pull.withdraw(current(), taken)
    finally:
        execute(current(), "RESET lock_timeout")
        execute(other_connection, "ROLLBACK")
    assert puller.pull() == rows[1].task_info
    assert puller.pull() is None


def test_a_task_taken_in_advance_that_was_begun_elsewhere_is_not_given_back(puller, worker, monkeypatch):
    monkeypatch.setattr(offers, "AHEAD", patient(10))
    rows = [hello(str(number)) for number in range(3)]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows[:2]]
    rows[2].run_now()
    assert TaskHandle(rows[2].task_id).wait(patient(20)) == "Hello, 2. Nice to meet you!"


def test_an_offer_is_no_excuse(puller, worker):
    done, again, busy = hello("done"), hello("again"), hello("busy")
    assert {puller.pull() for _ in range(3)} == {row.task_info for row in (done, again, busy)}
    done.mark_done()
    assert puller.refused(done.task_info)[0] == 2910015
    again.start_again()
    assert puller.step(again.task_info)["continue_flag"] is False
    assert HelloTask.objects.get(pk=again.pk).task_id == again.task_id
    assert puller.refused(busy.task_info, 2)[0] == 2910008
    assert puller.step(busy.task_info)["continue_flag"] is False
    assert puller.refused(busy.task_info)[0] == 2910015


# --- steps ----------------------------------------------------------------------------------------------------------


def test_steps_follow_each_other(puller, worker):
    row = ThreeTask.objects.create()
    task_info = puller.pull()
    for step in (1, 2, 3):
        assert puller.step(task_info, step)["data"] == {"n": step}
        assert puller.pull() is None
    row.refresh_from_db()
    assert (row.lines, row.success) == ("1 2 3 ", True)


def test_another_client_goes_on_where_the_first_one_was_lost(puller, worker):
    row = ThreeTask.objects.create(returns={"1": {"proxy": {"method": "GET", "url": "http://example.org/"}}})
    first = puller.step(puller.pull(), 1)
    assert puller.refused(row.task_info, 1)[0] == 2910008  # the first client has its time
    overdue()
    assert puller.post("do_auto_reset")["result"]["auto_reset"]["st2app.threetask"] in (
        0,
        1,
    )  # or the worker was faster
    wait_until(lambda: puller.pull() == row.task_info, what="the offer of the next step")

    resumed = puller.step(row.task_info, 1)

    assert resumed == first
    assert puller.pull() is None
    assert puller.step(row.task_info, 2, proxied_content="eA==\n", proxied_error=None)["data"] == {"n": 2}
    assert puller.step(row.task_info, 3)["data"] == {"n": 3}
    row.refresh_from_db()
    assert row.lines == "1 2 3 "


def test_a_failed_step_is_retried_by_the_worker_while_the_client_waits(puller, worker):
    row = ThreeTask.objects.create(returns={"1": "fail once"})
    assert puller.step(puller.pull(), 1)["continue_flag"] is True
    row.refresh_from_db()
    assert row.lines == "1 1 "


def test_a_step_that_takes_long_goes_on_without_the_client(puller, worker, settings):
    row = ThreeTask.objects.create(returns={"3": "wait"})
    puller.step(row.task_info, 1)
    puller.step(row.task_info, 2)
    settings.AUTOTASK_PULL_WAIT = 0.3
    assert puller.refused(row.task_info, 3) == (2910013, f"task {row.task_info} locked by another worker.")
    for step in (1, 2, 3):
        assert puller.refused(row.task_info, step)[0] == 2910013
    gate("step 3").set()
    wait_until(lambda: ThreeTask.objects.get(pk=row.pk).done_time, what="the end of the row")
    assert ThreeTask.objects.get(pk=row.pk).lines == "1 2 3 "
    assert puller.refused(row.task_info, 3)[0] == 2910015


def test_what_a_call_carries_reaches_a_step_whatever_the_client_sends(puller, worker, settings):
    settings.AUTOTASK_CONTEXT = ["autotask.carriers.Language"]
    with translation.override("de"):
        rows = [LanguageTask.objects.create() for _ in range(2)]
    assert puller.step(rows[0].task_info)["data"] == ["de", None]
    assert puller.step(rows[1].task_info, said="x")["data"] == ["de", "x"]


def test_only_one_of_many_clients_starts_a_step(puller, worker):
    row = ThreeTask.objects.create()
    answers = [
        in_thread(lambda: puller.post("do_task", task_info=row.task_info, step=1)["error"]["code"]) for _ in range(5)
    ]
    codes = [answer() for answer in answers]
    assert codes.count(0) == 1, codes
    assert set(codes) <= {0, 2910013, 2910008}
    assert ThreeTask.objects.get(pk=row.pk).lines == "1 "


def test_an_answer_of_another_site_may_have_megabytes(puller, worker):
    row = ThreeTask.objects.create()
    puller.step(row.task_info, 1)
    assert puller.step(row.task_info, 2, proxied_content="x" * 14_000_000)["data"] == {"n": 2}
    assert puller.raw("do_task", b"{" + b" " * 17_000_000)["error"]["code"] == 2910001


def test_a_cancelled_step_is_an_error_for_the_client(puller, worker):
    row = ThreeTask.objects.create(returns={"1": "loop"})
    answer = in_thread(lambda: puller.refused(row.task_info, 1))
    wait_until(lambda: row.handle.status == RUNNING, what="the step")
    row.handle.cancel()
    code, message = answer()
    assert (code, "cancelled" in message) == (2910009, True)


def test_many_rows_for_clients_wake_no_workers(puller, monkeypatch):
    # Given
    woken = []
    monkeypatch.setattr(notify, "_wake", lambda connection, place: woken.append(place))

    # When, Then: none of them can run these
    HelloTask.objects.bulk_create([HelloTask(name="Ann"), HelloTask(name="Bob")])
    assert woken == []
    assert {puller.pull() for _ in range(2)} == {row.task_info for row in HelloTask.objects.all()}

    # When, Then: later, a worker has to make them ready
    definition = HelloTask.task_definition
    monkeypatch.setitem(vars(definition), "_stated", replace(definition._kind, delay=60.0))
    monkeypatch.setattr(definition, "_kinds", {})
    HelloTask.objects.bulk_create([HelloTask(name="Cid"), HelloTask(name="Dan")])
    assert len(woken) == 1


def test_a_step_that_a_pause_holds_is_offered_again(puller, start_worker, settings):
    settings.AUTOTASK_PULL_WAIT = patient(20)
    row, name = hello(), HelloTask._meta.label_lower
    pausing.pause(task=name)
    start_worker()
    assert puller.refused(row.task_info)[0] == 2910008
    pausing.resume(task=name)
    lapsed()
    assert puller.pull() == row.task_info
    assert puller.step(row.task_info)["data"] == "Hello, Ann. Nice to meet you!"


def test_without_the_package_redis_clients_pull_over_http(puller, start_worker, settings, monkeypatch, caplog):
    settings.AUTOTASK_PULL_REDIS = "redis://example.org"
    monkeypatch.setitem(sys.modules, "redis", None)  # import redis fails
    start_worker()
    rows = [hello(), ThreeTask.objects.create()]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows]
    assert puller.step(rows[0].task_info)["data"] == "Hello, Ann. Nice to meet you!"
    assert [puller.step(rows[1].task_info, step)["data"] for step in (1, 2, 3)] == [{"n": step} for step in (1, 2, 3)]
    assert 'pip install "autotask[redis]"' in caplog.text


# --- limits and rates: steps pass them when they begin --------------------------------------------------------------


def limited(count=1, **values):
    return [LimitedTask.objects.create(region="west", **values) for _ in range(count)]


def test_one_client_does_all_steps_of_tasks_of_which_one_step_runs_at_a_time(puller, worker, settings):
    settings.AUTOTASK_REMOTE_CHANNELS = ["west"]
    settings.AUTOTASK_PULL_WAIT = patient(5)
    rows = limited(3)
    for row in rows:
        assert puller.pull("west") == row.task_info
        assert puller.step(row.task_info, 1)["data"] == {"n": 1}
        assert puller.step(row.task_info, 2)["data"] == {"n": 2}


def test_tasks_that_wait_for_a_client_keep_none_of_the_site_waiting(puller, worker, settings):
    settings.AUTOTASK_REMOTE_CHANNELS = ["west"]
    remote, inside = limited()[0], LimitedTask.objects.create()
    done(inside)
    assert puller.pull("west") == remote.task_info
    done(LimitedTask.objects.create())
    assert puller.step(remote.task_info, 1)["data"] == {"n": 1}
    done(LimitedTask.objects.create())
    overdue()
    puller.post("do_auto_reset")
    assert puller.step(remote.task_info, 1)["data"] == {"n": 1}  # another client continues, and makes the request again
    done(LimitedTask.objects.create())
    assert puller.step(remote.task_info, 2)["data"] == {"n": 2}


def done(row):
    assert ended(row.handle) == "done"


def test_a_retried_task_that_waits_for_a_client_keeps_none_of_the_site_waiting(puller, worker, settings):
    settings.AUTOTASK_REMOTE_CHANNELS = ["west"]
    (row,) = limited()
    row.handle.cancel()
    row.handle.retry()
    done(LimitedTask.objects.create())
    assert puller.step(puller.pull("west"), 1)["data"] == {"n": 1}


def test_steps_of_several_clients_run_one_at_a_time(puller, worker, settings):
    settings.AUTOTASK_REMOTE_CHANNELS = ["west"]
    first, second = limited(waits="first")[0], limited(waits="second")[0]
    assert [puller.pull("west"), puller.pull("west")] == [first.task_info, second.task_info]
    answers = [in_thread(lambda: puller.step(first.task_info, 1))]
    assert gate("first 1 reached").wait(patient(20))
    answers.append(in_thread(lambda: puller.step(second.task_info, 1)))
    wait_until(lambda: Task.objects.get(id=second.task_id).state == State.HELD, what="the second at the gate")
    assert not gate("second 1 reached").is_set()
    gate("first 1").set()
    assert gate("second 1 reached").wait(patient(20))
    gate("second 1").set()
    assert [answer()["next_step"] for answer in answers] == [2, 2]


def test_a_client_does_not_wait_long_for_a_limit(puller, worker, settings):
    settings.AUTOTASK_REMOTE_CHANNELS = ["west"]
    settings.AUTOTASK_PULL_WAIT = patient(20)
    first, second = limited(waits="first")[0], limited()[0]
    answer = in_thread(lambda: puller.step(first.task_info, 1))
    assert gate("first 1 reached").wait(patient(20))
    message = f"task {second.task_info} status is not READY but Held, you can NOT start it."
    assert puller.refused(second.task_info, 1) == (2910008, message)
    assert second.handle.status == "waiting"
    gate("first 1").set()
    assert answer()["next_step"] == 2
    assert puller.pull("west") is None  # It is offered again after some seconds.
    lapsed()
    assert puller.pull("west") == second.task_info
    assert puller.step(second.task_info, 1)["data"] == {"n": 1}


def test_a_step_after_the_first_waits_for_its_limit(puller, worker, settings):
    settings.AUTOTASK_REMOTE_CHANNELS = ["west"]
    first, second = limited()[0], limited(waits="second")[0]
    puller.step(first.task_info, 1)
    other = in_thread(lambda: puller.step(second.task_info, 1))
    assert gate("second 1 reached").wait(patient(20))
    settings.AUTOTASK_PULL_WAIT = 1
    assert puller.refused(first.task_info, 2, proxied_content="eA==") == (
        2910013,
        f"task {first.task_info} locked by another worker.",
    )
    gate("second 1").set()
    other()
    wait_until(lambda: LimitedTask.objects.get(pk=first.pk).success, what="the end of the first")


def test_a_task_that_has_begun_is_not_dropped_at_a_full_limit(puller, worker, settings):
    begun, busy, new = DropTask.objects.create(), DropTask.objects.create(waits=True), DropTask.objects.create()
    puller.step(begun.task_info, 1)
    other = in_thread(lambda: puller.step(busy.task_info, 1))
    assert gate("drop reached").wait(patient(20))
    code, message = puller.refused(new.task_info, 1)
    assert (code, "limit reached" in message) == (2910009, True)
    settings.AUTOTASK_PULL_WAIT = 1
    assert puller.refused(begun.task_info, 2)[0] == 2910013
    gate("drop").set()
    other()
    wait_until(lambda: DropTask.objects.get(pk=begun.pk).success, what="the end of the first")


def test_steps_of_tasks_with_a_rate_take_their_tokens_when_they_begin(puller, worker, settings):
    settings.AUTOTASK_PULL_WAIT = 1
    rows = [RatedTask.objects.create() for _ in range(2)]
    assert [puller.pull(), puller.pull()] == [row.task_info for row in rows]
    assert puller.step(rows[0].task_info, 1)["data"] == {"n": 1}
    assert puller.step(rows[0].task_info, 2)["data"] == {"n": 2}
    assert puller.refused(rows[1].task_info, 1)[0] == 2910008
    lapsed()
    assert puller.pull() == rows[1].task_info
