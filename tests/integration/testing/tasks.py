"""Task functions that the tests of the testing tools run."""

import os

from django.conf import settings
from django.contrib.auth.models import Group
from django.core import mail
from django.db import IntegrityError, connection, transaction

from autotask.handle import TaskHandle
from autotask.tasks import Cancel, Snooze, current, delayed_task

#: What ran, in order; emptied by each test.
ran: list[object] = []


@delayed_task
def add(x, y=0):
    ran.append((x, y))
    return x + y


@delayed_task
def same(value):
    return value


@delayed_task(retries=2, backoff=600)
def fail(message="no", until=99):
    """Fail until it has been called so often."""
    ran.append(message)
    if len(ran) < until:
        raise ValueError(message)
    return len(ran)


@delayed_task
def snooze(seconds, times):
    ran.append(seconds)
    if len(ran) <= times:
        raise Snooze(seconds)


@delayed_task
def cancel_itself():
    raise Cancel("no need")


@delayed_task
def in_turn(names, delay=0.0):
    """Note the first name, and enqueue itself for the others."""
    ran.append(names[0])
    if len(names) > 1:
        in_turn.using(delay=delay)(names[1:], delay)


@delayed_task
def for_ever():
    for_ever()


@delayed_task
def parent(value):
    return same(value).wait(5) + 1


@delayed_task
async def add_later(x, y):
    return x + y


@delayed_task
async def count_groups():
    return await Group.objects.acount()


@delayed_task
def make_group(name, then_fail=False):
    Group.objects.create(name=name)
    if then_fail:
        raise ValueError("after the group")


@delayed_task
def make_group_twice(name):
    """Make the database refuse a statement, outside of any atomic block, and go on as if nothing had happened."""
    Group.objects.create(name=name)
    Group.objects.create(name=name)


@delayed_task(atomic=True)
def make_group_atomically(name, then_fail=False):
    transaction.on_commit(lambda: ran.append(f"committed {name}"))
    Group.objects.create(name=name)
    if then_fail:
        raise ValueError("after the group")


@delayed_task
def commit_and_roll_back():
    """Register what is to be done on commit, in a block that is committed and in one that is not."""
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append("committed"))
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append("rolled back"))
            raise IntegrityError
    except IntegrityError:
        pass


@delayed_task
def fail_on_commit():
    transaction.on_commit(lambda: 1 / 0)


@delayed_task
def name_itself():
    return current().id


@delayed_task
def cancel_while_running():
    TaskHandle(current().id).cancel()
    raise ValueError("interrupted")


@delayed_task
def stop_the_tests():
    raise KeyboardInterrupt


@delayed_task
def where_it_runs():
    return connection.settings_dict["NAME"], os.getpid()


@delayed_task(executor="process")
def where_it_runs_beside():
    return connection.settings_dict["NAME"], os.getpid()


@delayed_task
def settings_there(*names):
    return [getattr(settings, name) for name in names]


@delayed_task
def send_mail():
    """Send a mail, and return how many have been sent into the memory of this process."""
    mail.send_mail("Hello", "…", None, ["somebody@autotask.example"])
    return len(mail.outbox)
