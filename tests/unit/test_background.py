"""Background workers: their options, how they call their functions, and what they refuse where they are written."""

import asyncio
import pickle
import queue
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autotask import registry
from autotask.background import (
    BackgroundAsyncWorker,
    BackgroundEventWorker,
    BackgroundIntervalWorker,
    BackgroundQueueWorker,
    BackgroundWorker,
    background_worker,
)
from autotask.background.options import Kind
from autotask.context import StopRequest
from autotask.exceptions import (
    AutotaskError,
    ConflictingOptions,
    InvalidOption,
    InvalidOptionType,
    NotOfThisKind,
    OptionWithoutEffect,
    RunFailedElsewhere,
    UnknownOption,
    UnsuitableFunction,
)
from autotask.task import new_id
from autotask.tasks import delayed_task
from autotask.worker.background.call import Answer, Call, ControlElsewhere
from autotask.worker.background.care import Care


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the background workers that a test declares: those of the process are hosted by its workers."""
    before = dict(registry._definitions)
    yield
    registry._definitions.clear()
    registry._definitions.update(before)


def noop(**kwargs: Any) -> None:
    """Do nothing."""


async def anoop(**kwargs: Any) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("options", "function", "made", "kind"),
    [
        ({}, noop, BackgroundWorker, Kind.CONTINUOUS),
        ({}, anoop, BackgroundAsyncWorker, Kind.ASYNC),
        ({"q": True}, noop, BackgroundQueueWorker, Kind.QUEUE),
        ({"queue": True}, anoop, BackgroundQueueWorker, Kind.QUEUE),
        ({"q": asyncio.Queue}, noop, BackgroundQueueWorker, Kind.QUEUE),
        ({"queue": queue.Queue}, noop, BackgroundQueueWorker, Kind.QUEUE),
        ({"e": True}, noop, BackgroundEventWorker, Kind.EVENT),
        ({"event": True, "queue": "slow"}, noop, BackgroundEventWorker, Kind.EVENT),
        ({"interval": 5}, noop, BackgroundIntervalWorker, Kind.INTERVAL),
        ({"delay": 5}, anoop, BackgroundIntervalWorker, Kind.INTERVAL),
        ({"delay_before": 0.01}, noop, BackgroundIntervalWorker, Kind.INTERVAL),
        ({"queue": False, "daemon": True, "supervisor": "any"}, noop, BackgroundWorker, Kind.CONTINUOUS),
    ],
)
def test_the_options_say_which_kind_it_is(options: dict[str, Any], function: Any, made: type, kind: Kind) -> None:
    worker = background_worker(**options)(function)
    assert (type(worker), worker.kind, worker.name) == (made, kind, f"{__name__}.{function.__name__}")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"interval": 1, "delay": 1}, ConflictingOptions, "both 'interval' and 'delay'"),
        ({"interval": 1, "queue": True}, ConflictingOptions, "'queue'"),
        ({"e": True, "q": True}, ConflictingOptions, "'e' and 'q'"),
        ({"interval": 0}, InvalidOption, "'interval' .* from 0.01 seconds"),
        ({"interval": 0.009}, InvalidOption, "'interval'"),
        ({"interval": "1"}, InvalidOptionType, "a number of seconds"),
        ({"q": queue.PriorityQueue}, InvalidOption, r"give put\(\) a priority="),
        ({"queue": asyncio.PriorityQueue}, InvalidOption, r"give put\(\) a priority="),
        ({"queue": queue.LifoQueue}, InvalidOption, "in the order in which they were put"),
        ({"queue": asyncio.Queue()}, InvalidOption, "True or False"),
        ({"per": "cluster"}, InvalidOption, '"site" or "host" or "process"'),
        ({"q": True, "concurrency": 0}, InvalidOption, "'concurrency' .* from 1 to 100"),
        ({"concurrency": 2}, OptionWithoutEffect, "'concurrency'.*BackgroundQueueWorker"),
        ({"executor": "coroutine"}, InvalidOption, '"thread", "process" or a name'),
        ({"executor": "process", "loop": "io"}, ConflictingOptions, "'loop' and 'executor'"),
        ({"loop": asyncio}, InvalidOptionType, "the name of an event loop"),
        ({"on_error": 1}, InvalidOptionType, "a function"),
        ({"on_error": anoop}, InvalidOption, "'on_error' .* a plain function, not a coroutine"),
        ({"on_error": lambda: None}, InvalidOption, "'on_error' .* a function that takes the exception, but is"),
        (
            {"on_error": lambda error: None, "on_error_kwargs": {"who": 1}},
            InvalidOption,
            "'on_error' .* takes the exception, and 'who' of on_error_kwargs, but is",
        ),
        ({"on_error_kwargs": []}, InvalidOptionType, "a dict"),
        ({"intervall": 1}, UnknownOption, "did you mean 'interval'"),
        ({"priority": 101}, InvalidOption, "from -100 to 100"),
        ({"poll_delay": -1}, InvalidOption, "'poll_delay'"),
        ({"name": "a b"}, InvalidOption, "'name'"),
    ],
)
def test_a_bad_option_is_refused_where_it_is_written(
    options: dict[str, Any], error: type[AutotaskError], message: str
) -> None:
    with pytest.raises(error, match=message):
        background_worker(**options)(noop)


def test_options_of_another_kind_are_refused() -> None:
    with pytest.raises(OptionWithoutEffect, match="'interval'.*BackgroundIntervalWorker"):
        BackgroundQueueWorker(func=noop, interval=1)
    with pytest.raises(InvalidOption, match="unless delay or delay_before is given"):
        BackgroundIntervalWorker(func=noop)


def test_functions_of_which_nothing_would_run_are_refused() -> None:
    def generator() -> Iterator[int]:
        yield 1

    class Nothing(BackgroundWorker): ...

    class Sync(BackgroundAsyncWorker):
        def run(self) -> None: ...

    for make, message in [
        (lambda: background_worker(generator), "generator function"),
        (Nothing, "nothing to run"),
        (Sync, "no coroutine function"),
    ]:
        with pytest.raises(UnsuitableFunction, match=message):
            make()
    with pytest.raises(InvalidOption, match="a function"):
        background_worker(Nothing)


def test_two_of_one_class_need_names() -> None:
    class Feed(BackgroundWorker):
        def run(self, **kwargs: Any) -> None: ...

    first = Feed()
    assert first.name == f"{__name__}.test_two_of_one_class_need_names.<locals>.Feed"
    with pytest.raises(InvalidOption, match="there is a background worker with this name"):
        Feed()
    assert Feed(name="second").name == "second"


def test_a_static_run_is_for_another_process() -> None:
    class Static(BackgroundQueueWorker):
        @staticmethod
        def run(task: Any) -> None: ...

    assert Static().options.executor == "process"
    assert Static(name="here", executor="thread").options.executor == ""
    with pytest.raises(InvalidOption, match="there is a background worker with this name"):
        Static()


def test_process_result_takes_what_the_function_returns_and_says_whether_to_stop() -> None:
    class Sum(BackgroundQueueWorker):
        def __init__(self) -> None:
            super().__init__(executor="process")
            self.seen: list[Any] = []

        def run(self, task: Any) -> Any:
            return task

        def process_result(self, result: Any) -> Any:
            self.seen.append(result)
            return result != "last"

    worker = Sum()
    here = worker.here_after((), {})
    worker.hosted(here)
    for value in (False, "last"):
        assert not here.is_over
        worker.handle("", value)
    assert here.is_over
    assert worker.seen == [False, "last"]


@pytest.mark.parametrize(
    ("options", "act", "message"),
    [
        ({}, "put", r"no put\(\): it is of the kind continuous. Declare it with queue=True"),
        ({"e": True}, "aput", "of the kind event"),
        ({"q": True}, "trigger", "of the kind queue. Declare it with event=True or interval="),
    ],
)
def test_what_only_other_kinds_have_is_refused(options: dict[str, Any], act: str, message: str) -> None:
    worker = background_worker(**options)(noop)
    with pytest.raises(NotOfThisKind, match=message):
        getattr(worker, act)
    assert not hasattr(worker, act)
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        worker.unknown()


def test_a_run_elsewhere_tells_how_it_ended() -> None:
    @background_worker(q=True, executor="process")
    def divides(task: Any, _task_id: str) -> Any:
        return lambda: None if task is None else None if task else 1 / task

    @background_worker(q=True, executor="process", name="other")
    def fails(task: Any) -> Any:
        class Strange(Exception): ...

        raise Strange if task else ZeroDivisionError("as asked")

    def answer(worker: Any, task: Any) -> Answer:
        call = Call(worker.definition.name, "", None, new_id(), pickle.dumps((task,)), "id")
        return call.run(cast(Any, None), StopRequest())

    with pytest.raises(ZeroDivisionError, match="as asked") as raised:
        answer(fails, 0).unpacked()
    assert "in fails" in str(raised.value.__cause__)
    with pytest.raises(RunFailedElsewhere, match="Strange"):
        answer(fails, 1).unpacked()
    with pytest.raises(Exception, match="local object"):
        answer(divides, 1).unpacked()


def test_a_run_elsewhere_hears_that_it_should_stop() -> None:
    stop = StopRequest()
    control = ControlElsewhere(stop)
    assert (control.asked, control.sleep(0)) == (False, True)
    stop.ask("enough")
    assert (control.asked, control.sleep(60)) == (True, False)


def test_a_call_wakes_the_instance_of_the_site_and_is_passed_on_for_all_others() -> None:
    woken: list[str] = []

    def instance(name: str, place: str) -> Any:
        return SimpleNamespace(grant=SimpleNamespace(place=place), wake=lambda: woken.append(name))

    care = Care(cast(Any, None), lambda queue: True)
    care.instances = {"here": instance("here", ""), "shared": instance("shared", "host boot")}
    assert [care.wake(name) for name in ("here", "shared", "elsewhere")] == [True, False, False]
    assert woken == ["here", "shared"]
    assert care._calls == {"shared", "elsewhere"}


def test_no_task_can_have_their_executor() -> None:
    with pytest.raises(InvalidOption, match="executor"):
        delayed_task(executor="background")(noop)


def test_functions_get_what_they_take() -> None:
    seen = []

    @background_worker(q=True, o="object")
    def few(task: Any, _name: str, o: Any) -> None:
        seen.append((task, _name, o))

    @background_worker(q=True)
    def all_of_them(task: Any, **kwargs: Any) -> None:
        seen.append(sorted(kwargs))

    few.handle("7", "value")
    all_of_them.handle("7", "value")
    assert seen == [("value", few.name, "object"), ["_name", "_task_id", "_worker", "o"]]


def test_overrides_replace_what_contradicts_them() -> None:
    worker = background_worker(delay=5)(noop)
    assert worker.options.started("x", interval=1).delay is None
    with pytest.raises(ConflictingOptions, match="'_interval' and '_delay'"):
        worker.options.started("x", interval=1, delay=1)
    with pytest.raises(OptionWithoutEffect, match="'_interval'"):
        background_worker(name="plain")(noop).options.started("x", interval=1)


def test_what_on_error_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(error: Exception) -> None:
        raise KeyError(str(error))

    @background_worker(on_error=fail)
    def failing() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        failing.handle("")
    assert "on_error of the background worker" in caplog.text


def test_outside_of_a_run_nothing_should_stop() -> None:
    worker = background_worker(noop)
    assert (worker.should_stop, worker.sleep(0)) == (False, True)
