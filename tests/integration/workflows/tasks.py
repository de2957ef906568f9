"""Task functions with steps."""

from collections import Counter

from django.db import connection, transaction

from autotask.tasks import current, delayed_task
from autotask.workflows import astep, step
from tests import gates
from tests.integration.shelf.models import Author

#: How often each step has run, by the id of the task.
ran: Counter[tuple[str, str]] = Counter()


def note(name, value=None):
    context = current()
    ran[str(context.id) if context else "", name] += 1
    return value


@delayed_task(retries=3, backoff=0)
def order(fail=()):
    """Three steps; the names of those that fail the first time."""
    payment = step("charge", note, "charge", value={"paid": 7})
    parcel = step("ship", fail_once, "ship", fail)
    return step("mail", fail_once, "mail", fail), payment, parcel


def fail_once(name, fail):
    note(name)
    if name in fail and ran[str(current().id), name] == 1:
        raise ValueError(f"{name} went wrong")
    return name


@delayed_task(retries=1, backoff=0)
async def aorder(fail=()):
    """The same as a coroutine."""
    payment = await astep("charge", anote, "charge")
    return await astep("mail", afail_once, "mail", fail), payment


async def anote(name):
    return note(name, name)


async def afail_once(name, fail):
    return fail_once(name, fail)


@delayed_task
def twice():
    """Use one name twice."""
    step("a", note, "a")
    step("a", note, "a")


@delayed_task
def odd():
    """A value that cannot be pickled."""
    step("odd", lambda: lambda: 1)


@delayed_task(retries=1, backoff=0)
def in_transaction():
    """A step whose effect is in the same transaction as its record."""
    with transaction.atomic():
        step("write", write, current().id)
        if current().attempt == 1:
            raise ValueError("rolled back")
    return Author.objects.count()


@delayed_task(atomic=True)
def in_conflict():
    """Its transaction conflicts with another one, the first time."""
    step("write", note, "write")
    if ran[str(current().id), "write"] == 1:
        with connection.cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
    return step("after", note, "after", value=1)


def write(name):
    note("write")
    Author.objects.create(name=str(name))


@delayed_task(executor="process", retries=1, backoff=0)
def elsewhere():
    """In a child process."""
    first = step("first", note, "first", value=1)
    if current().attempt == 1:
        raise ValueError("again")
    return first


@delayed_task
def slow():
    """Wait in a step, and go on after the claim is over."""
    step("wait", gates.wait_at, "slow step")
