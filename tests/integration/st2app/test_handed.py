"""Steps that the companion of the process runs, which answers by itself when they have ended."""

import contextlib
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from autotask import answers, handover, read_rows, references
from autotask.api.simpletask2 import running, stepping
from autotask.processes import readable
from autotask.store import begin_step
from autotask.store.connection import current, rows
from autotask.task import RUNNING
from tests.gates import gate
from tests.helpers import patient, wait_until
from tests.integration.st2app.models import (
    AtomicTask,
    BoomTask,
    EchoTask,
    HelloTask,
    TextTask,
    ThreeTask,
    UuidTask,
)
from tests.integration.st2app.test_pulling import in_thread


@pytest.fixture
def companion(serve, pipes):
    """A worker to which this process can hand steps."""
    return serve()


@pytest.fixture
def offered(pipes, companion):
    """Wait until the companion offers to take a step."""

    def wait():
        wait_until(lambda: readable.wait([pipes.offers[0]], 0), what="an offer")

    wait()
    return wait


@pytest.fixture
def looks(monkeypatch):
    """The steps of which the companion has not told the end."""
    calls = []

    def run_anywhere(*args):
        calls.append(args)
        return other(*args)

    def look(self):
        calls.append(self)
        return real(self)

    real = running._Waiting.look
    other = stepping.run_anywhere
    monkeypatch.setattr(running._Waiting, "look", look)
    monkeypatch.setattr(stepping, "run_anywhere", run_anywhere)
    return calls


@pytest.fixture
def answered(offered, looks):
    """Return a row with the value of an act on it that the companion has answered.

    The rows are made before: a new one makes it look around, and then there is no offer for a moment.
    """

    def of(make, act):
        for row in [make() for _ in range(20)]:
            offered()
            looks.clear()
            value = act(row)
            if not looks:
                return row, value
        pytest.fail("the companion has answered nothing")

    return of


def hello():
    return HelloTask.objects.create(name="Ann")


def test_a_step_takes_one_statement_of_the_process_and_reads_no_row(puller, answered):
    def act(row):
        with CaptureQueriesContext(connection) as queries:
            answer = puller.step(row.task_info)
        return answer, [query["sql"] for query in queries]

    row, (answer, queries) = answered(hello, act)
    assert answer == {
        "continue_flag": False,
        "task_info": row.task_info,
        "next_step": 2,
        "data": "Hello, Ann. Nice to meet you!",
    }
    # The third time, it is prepared.
    assert [sql for sql in queries if "PREPARE" not in sql and "pg_backend_pid" not in sql] == [queries[-1]]
    row.refresh_from_db()
    assert row.success


@pytest.mark.parametrize(
    "make", [lambda: UuidTask.objects.create(), lambda: TextTask.objects.create(word=f"a b/ü {uuid.uuid4().hex[:8]}")]
)
def test_keys_of_any_type(puller, answered, make):
    _, answer = answered(make, lambda row: puller.step(row.task_info))
    assert answer["continue_flag"] is False


@pytest.fixture
def fetched(monkeypatch):
    """The rows that a worker has fetched."""
    found = []

    def one(model, *place):
        found.append(model)
        return real(model, *place)

    real = references.one
    monkeypatch.setattr(references, "one", one)
    return found


def step(puller, row):
    """Run the only step, or the first one of several."""
    return puller.step(row.task_info)["data"]


def test_the_row_comes_with_the_step(puller, answered, fetched, monkeypatch):
    monkeypatch.setattr(read_rows, "FRESH", patient(20))

    def act(row):
        fetched.clear()
        return step(puller, row), list(fetched)

    for make, data in (
        (hello, "Hello, Ann. Nice to meet you!"),
        (lambda: ThreeTask.objects.create(returns={"1": {"a": ["ü", 1.5, None]}}), {"a": ["ü", 1.5, None]}),
        (UuidTask.objects.create, "uuid"),
    ):
        row, (value, read) = answered(make, act)
        assert (value, read) == (data, [])
    assert ThreeTask.objects.get(lines="1 ").current_step == 2


def test_a_row_that_has_waited_is_fetched_again(puller, answered, fetched, monkeypatch):
    monkeypatch.setattr(read_rows, "FRESH", -1.0)
    _, data = answered(hello, lambda row: step(puller, row))
    assert data == "Hello, Ann. Nice to meet you!"
    assert HelloTask in fetched


@pytest.mark.parametrize("size", [begin_step.LARGEST_ROW, 100_000])
def test_a_large_row_is_fetched(puller, answered, fetched, monkeypatch, size):
    monkeypatch.setattr(read_rows, "FRESH", patient(20))
    lines = uuid.uuid4().hex * (size // 32 + 1)
    row, data = answered(lambda: ThreeTask.objects.create(lines=lines), lambda row: step(puller, row))
    assert data == {"n": 1}
    assert ThreeTask in fetched
    assert ThreeTask.objects.get(pk=row.pk).lines == f"{lines}1 "


@pytest.mark.parametrize("written", ["st2app.HelloTask:{pk}", "st2app.hellotask:0{pk}"])
def test_a_row_that_is_written_in_another_way(puller, offered, written):
    row = HelloTask.objects.create(name="Ann")
    assert puller.step(written.format(pk=row.pk))["task_info"] == row.task_info


@pytest.mark.parametrize("key", ["9223372036854775808", "-1", "1e3", "\0", "", "x"])
def test_keys_that_no_row_has(puller, offered, key):
    assert puller.refused(f"st2app.hellotask:{key}")[0] in (2910004, 2910005)
    assert puller.refused(f"st2app.uuidtask:{key}")[0] in (2910004, 2910005)


def test_the_companion_answers_between_steps_as_well(puller, offered, answered):
    def act(row):
        said = []
        for step in (1, 2, 3):
            offered()
            said.append(puller.step(row.task_info, step, proxied_content=None))
        return said

    row, said = answered(ThreeTask.objects.create, act)
    assert said == [
        {"continue_flag": step < 3, "task_info": row.task_info, "next_step": step + 1, "data": {"n": step}}
        for step in (1, 2, 3)
    ]


@pytest.mark.parametrize("size", [50_000, 100_000])
def test_large_values(puller, offered, size):
    row = EchoTask.objects.create()
    assert puller.step(row.task_info, said="x" * size)["data"]["said"] == "x" * size


def test_errors_and_retries(puller, offered):
    boom, again = BoomTask.objects.create(), ThreeTask.objects.create(returns={"1": "fail once"})
    assert puller.refused(boom.task_info) == (
        2910009,
        f"task {boom.task_info} calling do_task_main_step1 failed with error message: boom.",
    )
    offered()
    assert puller.step(again.task_info)["data"] == {"value": "fail once"}
    assert ThreeTask.objects.get(pk=again.pk).lines == "1 1 "


def test_an_outcome_that_the_transaction_of_the_step_has_recorded(puller, offered):
    row = AtomicTask.objects.create()
    answer = puller.step(row.task_info)
    assert answer["continue_flag"] is False
    assert AtomicTask.objects.get(pk=row.pk).success


def test_a_step_that_takes_longer_than_the_process_listens_for_an_answer(puller, offered, monkeypatch):
    monkeypatch.setattr(running, "LONGEST_LOOK", 0.05)
    row = ThreeTask.objects.create(returns={"1": "wait"})
    answer = in_thread(lambda: puller.step(row.task_info))
    assert gate("step 1 reached").wait(patient(20))
    wait_until(lambda: rows(current(), "SELECT FROM autotask_task WHERE awaited"), what="a thread that listens")
    gate("step 1").set()
    assert answer()["data"] == {"value": "wait"}


def test_without_such_addresses(puller, offered, monkeypatch):
    monkeypatch.setattr(answers.sys, "platform", "darwin")
    monkeypatch.setattr(answers, "_free", [])
    row = HelloTask.objects.create(name="Ann")
    assert puller.step(row.task_info)["data"] == "Hello, Ann. Nice to meet you!"


def test_a_forged_answer_counts_for_nothing(puller, offered, monkeypatch):
    forged, box = [], answers.Box()
    real = box.wait

    def wait(fence, seconds):
        if not forged:
            forged.append(fence)
            answers.send(box.address, fence, b"r" + b"not signed")
        return real(fence, seconds)

    monkeypatch.setattr(box, "wait", wait)
    monkeypatch.setattr(answers, "_free", [box])
    row = ThreeTask.objects.create(returns={"1": "wait"})
    answer = in_thread(lambda: puller.step(row.task_info))
    wait_until(lambda: forged, what="the forged answer")
    gate("step 1").set()
    with contextlib.closing(box):
        assert answer()["data"] == {"value": "wait"}


def test_what_was_cancelled_while_it_ran(puller, offered):
    row = ThreeTask.objects.create(returns={"1": "loop"})
    answer = in_thread(lambda: puller.refused(row.task_info))
    wait_until(lambda: row.handle.status is RUNNING, what="the step")
    row.handle.cancel()
    assert answer()[0] == 2910009


def test_a_refused_step_leaves_the_offer_to_the_next_one(puller, offered, answered, looks):
    other = ThreeTask.objects.create()

    def act(row):
        assert puller.refused(other.task_info, 2)[0] == 2910008
        offered()
        looks.clear()
        return puller.step(row.task_info)

    _, answer = answered(hello, act)
    assert answer["data"] == "Hello, Ann. Nice to meet you!"


def test_a_step_waits_for_the_companion_to_offer_while_that_looks_around(puller, pipes, offered, looks, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", patient(20))
    monkeypatch.setattr(handover, "_is_patient", True)
    row = hello()
    offer = wait_until(pipes.take_offer, what="an offer")
    monkeypatch.setattr(pipes, "take_offer", noting(pipes.take_offer, waits := []))
    answer = in_thread(lambda: step(puller, row))
    wait_until(lambda: waits, what="a request that waits for an offer")
    pipes.hand_over(handover.back(offer))
    assert answer() == "Hello, Ann. Nice to meet you!"
    assert waits == [patient(20)]
    assert not [call for call in looks if type(call) is tuple]  # run_anywhere()


def test_a_step_does_not_wait_for_offers_again_after_it_has_done_so_in_vain(puller, pipes, offered, looks, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 0.01)
    monkeypatch.setattr(handover, "_is_patient", True)
    rows_of_tasks = [hello() for _ in range(3)]
    monkeypatch.setattr(pipes, "take_offer", noting(lambda patience=0.0: None, waits := []))
    for row in rows_of_tasks:
        assert step(puller, row) == "Hello, Ann. Nice to meet you!"
    assert waits == [0.01, 0.0, 0.0]
    assert len([call for call in looks if type(call) is tuple]) == 3  # as above


def noting(take, waits):
    """Take offers, and note how long each caller would wait."""

    def noted(patience=0.0):
        waits.append(patience)
        return take(patience)

    return noted
