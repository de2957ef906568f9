"""Task functions that retry, snooze or cancel themselves, for test_inside.py."""

import time
from datetime import timedelta
from pathlib import Path

from django.db import connection, transaction

from autotask.tasks import Cancel, Discard, Retry, Snooze, TaskContext, current, delayed_task, periodic_task
from tests.gates import gate


def calls(path: str) -> int:
    """Note one call, and return how many there have been."""
    with open(path, "a") as file:
        file.write("x")
    return len(Path(path).read_text())


@delayed_task(retries=1, backoff=3600)
def retry_always(path: str) -> None:
    calls(path)
    raise Retry(delay=timedelta(seconds=0.05), reason="their server is busy")


@delayed_task
def snooze_once(path: str, seconds: float) -> float:
    if calls(path) == 1:
        raise Snooze(seconds)
    return time.monotonic()


@delayed_task(retries=5)
def cancel(path: str, reason: str) -> None:
    calls(path)
    raise Cancel(reason)


@delayed_task(retries=5)
def discard(path: str, reason: str) -> None:
    calls(path)
    raise Discard(reason)


@delayed_task
def snooze_behind_gate(name: str) -> None:
    pass_gate(name)
    raise Snooze(3600)


def pass_gate(name: str) -> None:
    gate(name + " reached").set()
    if not gate(name).wait(20):
        raise TimeoutError("the test did not open the gate")


@delayed_task(takes_context=True, retries=1, backoff=0.01)
def tell(context: TaskContext, *args: object, **kwargs: object) -> tuple[object, ...]:
    context.logger.info("told")
    if context.attempt == 1:
        raise ValueError("first")
    return context.id, context.name, context.attempt, context.scheduled_for, context.should_stop, args, kwargs


@delayed_task(takes_context=True)
async def tell_in_a_coroutine(context: TaskContext, value: int) -> tuple[object, ...]:
    return context.attempt, current() is context, value


@delayed_task
def look_for_context() -> str:
    running = current()
    assert running is not None
    return str(running.id)


@delayed_task(takes_context=True)
def report(context: TaskContext, name: str, *words: tuple[float, float]) -> None:
    """Say all words but the last, wait for the gate, and say the last."""
    for done, total in words[:-1]:
        context.progress(done, total)
    pass_gate(name)
    context.progress(*words[-1])


@delayed_task(takes_context=True)
def report_nonsense(context: TaskContext) -> str:
    context.progress("all", object())  # type: ignore[arg-type]
    return "survived"


@delayed_task(takes_context=True)
def report_and_snooze(context: TaskContext) -> None:
    context.progress(3, 4)
    raise Snooze(3600)


@delayed_task(takes_context=True)
def stop_when_told(context: TaskContext, path: str) -> str:
    calls(path)
    deadline = time.monotonic() + 20
    while not context.should_stop:
        if time.monotonic() > deadline:
            return "nobody told"
        time.sleep(0.01)
    return context.stop_reason


@periodic_task(seconds=0.2, name="tests.inside.tick", takes_context=True)
def tick(context: TaskContext) -> object:
    return context.scheduled_for


def insert(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO inside_effect (text) VALUES (%s)", [text])


@delayed_task(atomic=True)
def effect(text: str) -> str:
    insert(text)
    return text


@delayed_task(atomic=True, retries=1, backoff=0.01)
def effect_and_fail(path: str) -> str:
    insert("x")
    if calls(path) == 1:
        raise ValueError("after the effect")
    return "second"


@delayed_task(atomic=True)
def effect_behind_gate(name: str) -> str:
    insert(name)
    pass_gate(name)
    return name


@delayed_task(atomic=True)
def effect_with_bad_result(path: str):
    calls(path)
    insert("x")
    return lambda: None


@delayed_task(atomic=True, takes_context=True)
def effect_with_progress(context: TaskContext) -> None:
    context.progress(1, 1)
    insert("x")


@delayed_task(atomic=True)
def effect_and_broken_hook() -> str:
    def fail() -> None:
        raise ValueError("in the hook")

    insert("x")
    transaction.on_commit(fail)
    return "committed"


@delayed_task(atomic=True)
def effect_and_snooze() -> None:
    insert("x")
    raise Snooze(3600)


@delayed_task
def effect_in_autocommit(name: str) -> None:
    insert(name)
    pass_gate(name)
    raise ValueError


@delayed_task(at_most_once=True)
def once(path: str, name: str) -> None:
    calls(path)
    pass_gate(name)


WORDS = {
    "retry": lambda: Retry(delay=3600, reason="busy"),
    "snooze": lambda: Snooze(3600),
    "cancel": lambda: Cancel("why"),
    "discard": lambda: Discard("why"),
}


def say(context: TaskContext, word: str) -> None:
    context.progress(1, 2)
    raise WORDS[word]()


async def say_in_a_coroutine(context: TaskContext, word: str) -> None:
    say(context, word)


def saying(where: str, function, **options):
    """Return the task that runs there and reports its arguments."""
    return delayed_task(name=f"{__name__}.say_{where}", takes_context=True, retries=1, **options)(function)


EVERYWHERE = {
    "thread": saying("thread", say),
    "coroutine": saying("coroutine", say_in_a_coroutine),
    "process": saying("process", say, executor="process"),
    "executor": saying("executor", say, executor="everywhere"),
}
