"""A user's tasks, as a type checker sees them; test_typing.py has it checked. It is never run.

A line with ``# error: code`` has to be refused with that code, and no other line may be.
"""

from datetime import datetime, timedelta
from typing import assert_type

from autotask.class_tasks import BaseTask
from autotask.context import Progress
from autotask.handle import TaskHandle
from autotask.task import Status
from autotask.tasks import (
    Debounce,
    Limit,
    Rate,
    RateLimited,
    Retry,
    Snooze,
    TaskContext,
    cron_task,
    delayed_task,
    periodic_task,
    task,
)


@delayed_task
def add(x: int, y: int = 0, *, twice: bool = False) -> int:
    return x + y


@delayed_task(retries=3, queue="mail")
def send(to: str) -> None: ...


@delayed_task
async def fetch(url: str) -> bytes:
    return b""


@delayed_task(ttl=60)
async def fetch_many(*urls: str) -> list[bytes]:
    return []


@delayed_task(takes_context=True)
def import_rows(context: TaskContext, path: str) -> int:
    context.progress(1, 2)
    assert_type(context.should_stop, bool)
    raise Retry(delay=5)


@delayed_task(takes_context=True, retries=1)
async def fetch_all(context: TaskContext, *urls: str) -> list[bytes]:
    raise Snooze(timedelta(minutes=1))


@periodic_task(seconds=60)
def tick() -> str:
    return ""


@periodic_task(seconds=60, takes_context=True)
def tock(context: TaskContext) -> datetime | None:
    return context.scheduled_for


@cron_task(crontab="0 7 * * *")
def wake_up() -> None: ...


# A call returns a handle to what the function returns.
assert_type(add(1, 2), TaskHandle[int])
assert_type(add(1, twice=True), TaskHandle[int])
assert_type(send("ann"), TaskHandle[None])
assert_type(fetch("x"), TaskHandle[bytes])
assert_type(fetch_many("x", "y"), TaskHandle[list[bytes]])

# Wrong arguments are errors where they are written.
add("a")  # error: arg-type
add()  # error: call-arg
send("ann", "bob")  # error: call-arg
add(1, wibble=2)  # error: call-arg
send(5)  # error: arg-type
fetch(5)  # error: arg-type
fetch_many(1)  # error: arg-type

# The context is not among the arguments of a call.
assert_type(import_rows("x"), TaskHandle[int])
assert_type(fetch_all("x", "y"), TaskHandle[list[bytes]])
assert_type(import_rows.call("x"), int)
assert_type(tock(), datetime | None)
assert_type(import_rows("x").progress, Progress | None)
import_rows(5)  # error: arg-type
import_rows()  # error: call-arg

# So they are through every way to call.
assert_type(add.enqueue(1, 2), TaskHandle[int])
assert_type(add.using(delay=5)(1, 2), TaskHandle[int])
assert_type(add.using(delay=5).using(priority=1).enqueue(1), TaskHandle[int])
assert_type(add.call(1, 2), int)
assert_type(fetch.call("x"), bytes)
assert_type(add.enqueue_many([(1, 2), {"x": 1}]), list[TaskHandle[int]])
add.enqueue("a")  # error: arg-type
add.using(delay=5)("a")  # error: arg-type
add.using(delay=5).enqueue("a")  # error: arg-type
add.call("a")  # error: arg-type
fetch.using(delay=5)(5)  # error: arg-type


async def from_a_coroutine() -> None:
    assert_type(await add.aenqueue(1, 2), TaskHandle[int])
    assert_type(await add(1).await_result(), int)
    assert_type(await fetch("x").await_result(timeout=5), bytes)
    await add.aenqueue("a")  # error: arg-type


# What a handle knows.
handle = add(1, 2)
assert_type(handle.status, Status)
assert_type(handle.ready, bool)
assert_type(handle.result, int | None)
assert_type(handle.error_message, str)
assert_type(handle.wait(timeout=5), int)
assert_type(handle.cancel(), bool)

# Options of the decorators.
delayed_task(retries="3")  # error: call-overload
periodic_task("60")  # error: call-overload
cron_task(crontab=5)  # error: call-overload
delayed_task(queue=5)  # error: call-overload
delayed_task(takes_context=True, priority="high")  # error: call-overload
delayed_task(timeout="1 min")  # error: call-overload
delayed_task(on_missing="ignore")  # error: call-overload
delayed_task(retry_on=OSError())  # error: call-overload
delayed_task(backoff="linear")  # error: arg-type
delayed_task(queues="mail")  # error: call-overload
delayed_task(run_after=datetime.now())  # error: call-overload
periodic_task(seconds=60, queue=5)  # error: call-overload
periodic_task(seconds=60, misfire="never")  # error: call-overload
periodic_task(seconds=60, tz="UTC")  # error: call-overload
periodic_task(seconds=60, takes_context=True, wibble=1)  # error: call-overload
cron_task(5, queue=5)  # error: call-overload
cron_task(cron="@daily", tz=1)  # error: call-overload
cron_task(cron="@daily", takes_context=True, retires=1)  # error: call-overload
task(retries="3")  # error: arg-type
task(queue="mail")  # error: call-arg
add.using(queue=5)  # error: arg-type
add.using(priority="high")  # error: arg-type
add.using(run_after=5)  # error: arg-type
add.using(wibble=5)  # error: call-arg
add.using(atomic=True)  # error: call-arg
tick.using(delay="5")  # error: arg-type
delayed_task(queue="mail", priority=1, delay=timedelta(minutes=1), backoff=[1, 5.5], expires=60, name=None)
delayed_task(backoff=lambda error, attempt: attempt * 2.0, retry_on=(OSError, ValueError), no_retry_on=KeyError)
delayed_task(
    backoff="exponential", timeout=None, executor="process", atomic=True, at_most_once=True, on_missing="retry"
)
periodic_task(60, True, name="tick", misfire="all", overlap="queue", jitter=timedelta(seconds=1), queue="ticks", ttl=9)
delayed_task(unique=True, unique_for="waiting", on_conflict="replace")
delayed_task(unique="account_id", unique_for=timedelta(hours=1), on_conflict="raise")
delayed_task(unique=("a", "b"), concurrency=2, when_full="drop", rate="100/m")
delayed_task(unique=lambda account_id: account_id % 4, concurrency="openai", when_full="cancel_running")
delayed_task(concurrency=Limit(1, key="account_id"), rate=Rate("100/m", burst=20, key=["a"], cost=lambda r: len(r)))
delayed_task(debounce=Debounce(5, key="document_id", at_most=timedelta(minutes=1), merge=lambda old, new: old | new))
delayed_task(debounce=timedelta(seconds=5))
delayed_task(throttle=Rate("1/10m", key="user_id"))
delayed_task(unique=5)  # error: call-overload
delayed_task(unique_for="ever")  # error: call-overload
delayed_task(on_conflict="ignore")  # error: call-overload
delayed_task(concurrency=Rate("1/s"))  # error: call-overload
delayed_task(when_full="cancel")  # error: call-overload
delayed_task(rate=5)  # error: call-overload
delayed_task(debounce="5")  # error: call-overload
delayed_task(throttle=Limit(1))  # error: call-overload
Limit("1")  # error: arg-type
Rate(100)  # error: arg-type
Debounce(5, merge=5)  # error: arg-type
RateLimited("30")  # error: arg-type
task(unique="account_id", concurrency=Limit(1, key="account_id"), rate="5/s")
periodic_task(60, concurrency="openai", unique=True)
add.using(unique=False).using(unique="x", on_conflict="return", unique_for=5, debounce=False, throttle=False)
add.using(debounce=5)
add.using(throttle="1/m")
add.using(concurrency=1)  # error: call-arg
add.using(rate="1/s")  # error: call-arg
cron_task(0, [7, 19], cron=None, tz="Europe/Vienna", takes_context=False, retries=1)
task(retries=3, timeout=timedelta(minutes=1), queue_name="mail")
add.using(
    delay=timedelta(minutes=1), retries=1, ttl=60.5, expires=datetime.now(), timeout=None, run_after=datetime.now()
)

# A repeated function runs in place when it is called by hand.
assert_type(tick(), str)
assert_type(tick.enqueue(), TaskHandle[str])
wake_up(1)  # error: call-arg


# Task classes.
class MakeReport(BaseTask):
    name = "make_report"
    retries = 3
    unique = "year"
    concurrency = Limit(1)

    def run(self, year: int, *, draft: bool = False) -> str:
        assert_type(self.context, TaskContext)
        return ""

    def on_success(self, result: str) -> None: ...


class MonthlyReport(MakeReport):
    pass


class Crawl(BaseTask):
    async def run(self, url: str) -> bytes:
        return b""


class Wrong(BaseTask):
    retries = "3"  # error: assignment
    on_missing = "ignore"  # error: assignment


assert_type(MakeReport.enqueue(2026, draft=True), TaskHandle[str])
assert_type(MonthlyReport.enqueue(2026), TaskHandle[str])
assert_type(MakeReport()(2026), TaskHandle[str])
MakeReport.enqueue(2026, email=["a@example.org"])
assert_type(MakeReport.call(2026), str)
assert_type(MakeReport.using(delay=5)(2026), TaskHandle[str])
assert_type(MakeReport.enqueue_many([(2026,)]), list[TaskHandle[str]])
assert_type(Crawl.enqueue("x"), TaskHandle[bytes])
assert_type(Crawl.call("x"), bytes)
assert_type(Crawl.using(priority=1).enqueue("x"), TaskHandle[bytes])
MakeReport.enqueue("2026")  # error: call-overload
MakeReport.enqueue()  # error: call-overload
MonthlyReport.using(delay=5)("x")  # error: arg-type
MakeReport.using(wibble=5)  # error: call-arg
Crawl.enqueue(5)  # error: call-overload
MakeReport()("x")  # error: arg-type


async def from_a_coroutine_with_classes() -> None:
    assert_type(await MakeReport.aenqueue(2026), TaskHandle[str])
    assert_type(await Crawl.aenqueue("x"), TaskHandle[bytes])
    await Crawl.aenqueue(5)  # error: call-overload
