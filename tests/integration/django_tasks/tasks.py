"""Task functions of Django that the tests run."""

import time
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import django

from autotask.context import current
from autotask.tasks import Cancel, Debounce, task
from tests.gates import gate as gate, wait_at

plain_task = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks").task


@plain_task
def echo(value):
    return value


@task(unique=True)
def sync(account_id):
    return account_id


@task(
    debounce=Debounce(5, key="document_id", merge=lambda old, new: {**new, "version": old["version"] + new["version"]})
)
def index(document_id, version):
    return version


@plain_task
async def double(number):
    return 2 * number


@plain_task
def hide():
    """Return a coroutine, as a decorator does that does not await what it decorates."""
    return write_later("never")


@plain_task
def add_wrong_types(number):
    return number + "1"


@plain_task
async def add_wrong_types_later(number):
    return number + "1"


async def write_later(path):
    Path(path).write_text("ran")


@plain_task(priority=7)
def urgent(path, word):
    with open(path, "a") as file:
        file.write(word + "\n")


@plain_task(takes_context=True)
def look_around(context):
    result = context.task_result
    return {
        "attempt": context.attempt,
        "id": result.id,
        "status": str(result.status),
        "args": result.args,
        "queue": result.task.queue_name,
        "name": current().name,
    }


@plain_task(takes_context=True)
async def look_around_async(context, *, word):
    await context.task_result.arefresh()
    return [context.attempt, str(context.task_result.status), context.task_result.kwargs, word]


@task(retries=2, backoff=0.05)
def fail_until(path, successes_at):
    with open(path, "a") as file:
        file.write("x")
    calls = len(Path(path).read_text())
    if calls < successes_at:
        raise ValueError(f"call {calls}")
    return calls


@task(retries=1, backoff=0.01, takes_context=True)
def fail_with_context(context):
    raise LookupError(f"attempt {context.attempt} after {len(context.task_result.errors)} errors")


@plain_task
def give_up(reason):
    raise Cancel(reason)


@plain_task
def wait_for(name):
    wait_at(name)


@task(timeout=0.2)
def sleep_too_long():
    for _ in range(400):
        time.sleep(0.05)


@task(executor="process")
def in_a_process(word):
    return word.upper()


@task(expires=timedelta(seconds=1))
def perishable():
    """Never run by the test that lets it expire."""


@plain_task
def unpicklable():
    return lambda: None


def undecorated():
    """Is no task at its module path."""
