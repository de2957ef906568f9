"""The measured task functions, for autotask."""

import logging
import time

from django.apps import apps
from django.urls import reverse

from autotask.tasks import Limit, Rate, delayed_task
from benchmarks import probe

#: The shared rate: tasks a second, and tokens that can be saved up.
RATE, BURST = 200, 20

lines = logging.getLogger("benchmarks.lines")
lines.setLevel(logging.INFO)


@delayed_task
def nothing(number: int) -> int:
    """Only record that it has begun."""
    return probe.hit(number)


@delayed_task
def say_five(number: int) -> int:
    """Log five lines."""
    found = probe.hit(number)
    for step in range(5):
        lines.info("step %d of %s", step, "the import")
    return found


@delayed_task
def use_orm() -> str:
    """Use the models of Django, and the addresses of a site with the admin."""
    apps.get_model("contenttypes", "ContentType").objects.filter(app_label="autotask").count()
    time.sleep(0.01)
    return reverse("admin:index")


@delayed_task
def sleep_1ms(number: int) -> int:
    """Wait for a moment."""
    probe.hit(number)
    time.sleep(0.001)
    return number


@delayed_task
def sleep_10ms(number: int) -> int:
    """Wait as if for the answer of a server."""
    probe.hit(number)
    time.sleep(0.01)
    return number


@delayed_task
def compute_2ms(number: int) -> int:
    """Use a CPU for two milliseconds."""
    probe.hit(number)
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass
    return number


@delayed_task(concurrency=Limit(1, key="account"))
def one_per_account(number: int, account: int) -> int:
    """Only record that it has begun, one task at a time for each account."""
    return probe.hit(number)


@delayed_task(concurrency=5)
def five_at_once(number: int) -> int:
    """Only record that it has begun, five tasks at a time."""
    return probe.hit(number)


@delayed_task(concurrency=1)
def one_at_once(number: int) -> int:
    """Only record that it has begun, one task at a time."""
    return probe.hit(number)


@delayed_task(unique=True)
def unique(number: int) -> int:
    """Only record that it has begun, once for each number that waits or runs."""
    return probe.hit(number)


@delayed_task(rate=Rate(f"{RATE}/s", burst=BURST))
def rated(number: int) -> int:
    """Only record that it has begun, at the shared rate."""
    return probe.hit(number)


@delayed_task(rate=Rate("1/h", burst=1))
def hourly(number: int) -> int:
    """Only record that it has begun, once an hour."""
    return probe.hit(number)
