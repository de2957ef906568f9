"""Whole exchanges: a request, its answer, and the row afterwards, as the real server of django-simpletask2 has them, or better."""

from typing import Any, NamedTuple

import pytest

from autotask.model_tasks.queryset import Status
from tests.integration.st2app.models import BoomTask, EchoTask, HelloTask, NoMain, NoStep2, ThreeTask

PROXY = {"proxy": {"method": "GET", "url": "https://shop.example/prices"}}


class Row(NamedTuple):
    """What a row says.

    :ivar times: the steps that have ended.
    :ivar is_held: whether it is offered again at some time.
    """

    status: Status
    success: bool | None
    current_step: int
    times: str = ""
    is_held: bool = False


READY = Row(Status.READY, None, 1, is_held=True)
DONE = Row(Status.DONE, True, 1, "1")
FAILED = Row(Status.DONE, False, 1, "1")


class Exchange(NamedTuple):
    """An exchange.

    :ivar make: makes the row.
    :ivar asked: what is sent beside the key and ``task_info``.
    :ivar answer: the result, without ``task_info``; or the code and the message, with ``{}`` for that.
    :ivar before: how many steps have ended before.
    """

    make: Any
    asked: dict[str, Any]
    answer: Any
    row: Row
    before: int = 0


def went_on(step: int, data: Any) -> dict[str, Any]:
    return {"continue_flag": True, "next_step": step + 1, "data": data}


def ended(step: int, data: Any) -> dict[str, Any]:
    return {"continue_flag": False, "next_step": step + 1, "data": data}


EXCHANGES = {
    "the only step": Exchange(
        lambda: HelloTask.objects.create(name="Eve"), {"step": 1}, ended(1, "Hello, Eve. Nice to meet you!"), DONE
    ),
    "no number of a step": Exchange(
        lambda: HelloTask.objects.create(name="Leo"), {}, ended(1, "Hello, Leo. Nice to meet you!"), DONE
    ),
    "what was sent along": Exchange(
        EchoTask.objects.create, {"step": 1, "more": {"n": [1]}}, ended(1, {"step": 1, "more": {"n": [1]}}), DONE
    ),
    "a method that raises": Exchange(
        BoomTask.objects.create,
        {"step": 1},
        (2910009, "task {} calling do_task_main_step1 failed with error message: boom."),
        FAILED,
    ),
    # The real server says 2910009 here.
    "no method": Exchange(
        NoMain.objects.create,
        {"step": 1},
        (2910007, "task handler is not implemented, task=st2app.nomain, handler=do_task_main_step1."),
        FAILED,
    ),
    # The row of the real server stays as it is, and is started again after a while, in vain.
    "no method for the second step": Exchange(
        NoStep2.objects.create,
        {"step": 2},
        (2910007, "task handler is not implemented, task=st2app.nostep2, handler=do_task_main_step2."),
        Row(Status.DONE, False, 2, "12"),
        before=1,
    ),
    # current_step is the next step; that of the real server is the last one that has begun.
    "a request between steps": Exchange(
        lambda: ThreeTask.objects.create(returns={"1": PROXY}),
        {"step": 1},
        went_on(1, PROXY),
        Row(Status.DOING, None, 2, "1", is_held=True),
    ),
    "the answer to a request": Exchange(
        ThreeTask.objects.create,
        {"step": 2, "proxied_content": "PGgxPg==\n", "proxied_error": None},
        went_on(2, {"n": 2}),
        Row(Status.DOING, None, 3, "12", is_held=True),
        before=1,
    ),
    "the last step": Exchange(
        ThreeTask.objects.create, {"step": 3}, ended(3, {"n": 3}), Row(Status.DONE, True, 3, "123"), before=2
    ),
    # The real server runs it.
    "the second step first": Exchange(
        ThreeTask.objects.create,
        {"step": 2},
        (2910008, "task {} waits for step 1 and not for step 2, you can NOT start it."),
        READY,
    ),
    # The real server says 2910000, with a text about its own fault.
    "a step as text": Exchange(
        ThreeTask.objects.create, {"step": "1"}, (2910001, "please send request parameters in PAYLOAD format."), READY
    ),
}


@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
def test_an_exchange(puller, worker, exchange):
    row = exchange.make()
    for step in range(1, exchange.before + 1):
        puller.step(row.task_info, step)

    said = puller.post("do_task", task_info=row.task_info, **exchange.asked)

    if isinstance(exchange.answer, tuple):
        code, message = exchange.answer
        assert said["error"] == {"code": code, "message": message.format(row.task_info)}
    else:
        result = said["result"]
        assert result.pop("task_info") == row.task_info
        if isinstance(row, EchoTask):
            assert result["data"].pop("task_info") == row.task_info
        assert result == exchange.answer
    assert seen(row) == exchange.row


def seen(row: Any) -> Row:
    found = type(row).objects.with_status().get(pk=row.pk)
    assert (found.done_time is not None) is (found.status == Status.DONE)
    assert (found.start_time is not None) is (found.status != Status.READY)
    times = "".join(sorted(found.step_times))
    return Row(found.status, found.success, found.current_step, times, found.auto_reset_time is not None)
