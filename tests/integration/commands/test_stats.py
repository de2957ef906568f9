"""``manage.py autotask stats``."""

import re
import time

import pytest

from autotask.statistics import BUCKETS, Counts, bucket
from autotask.store import statistics
from autotask.store.connection import current
from autotask.store.statistics import Key
from tests.integration.commands.command import manage

pytestmark = pytest.mark.django_db(transaction=True)


def add(name, number, queue="default"):
    waiting, running = [0] * BUCKETS, [0] * BUCKETS
    waiting[bucket(0.012)] = running[bucket(90)] = number
    counts = Counts(started=number, succeeded=number - 1, failed=1, ran=90.0 * number, waiting=waiting, running=running)
    statistics.add(current(), {Key(int(time.time()) // 60 * 60, name, queue): counts})


def test_stats_has_a_line_for_each_task():
    # Given
    add("shop.tasks.send", 120)
    add("shop.tasks.send", 120, queue="slow")
    add("shop.tasks.report", 30)
    # When
    shown = manage("stats").out
    # Then
    assert re.search(r"^TASK +QUEUE +A MINUTE +STARTED +DONE +ERROR", shown, re.M)
    assert re.search(
        r"^shop.tasks.send +- +(?:3\.9|4\.0) +240 +238 +2 +0 +0 +0 +1\d ms +1\d ms +1 min \d+ s +1 min \d+ s$",
        shown,
        re.M,
    )
    assert re.search(r"^shop.tasks.report +- +0.5 +30", shown, re.M)
    assert "slow" in manage("stats", "--by", "queue").out
    assert "report" not in manage("stats", "--by", "both", "--queue", "slow").out


def test_stats_as_json_has_the_documented_keys():
    add("shop.tasks.send", 120)
    shown = manage("stats", "--since", "1m", "--task", "shop.tasks.send", "--json").json
    assert list(shown) == ["since", "until", "tasks"]
    [task] = shown["tasks"]
    assert list(task) == [
        *("name", "queue", "started", "succeeded", "failed", "retried", "cancelled", "lost"),
        *("ended_per_minute", "waiting_seconds", "running_seconds"),
    ]
    # The range begins at a whole minute, so it is between one and two minutes long.
    assert task["started"] == 120 and 60 <= task["ended_per_minute"] <= 120
    assert list(task["running_seconds"]) == ["p50", "p95", "mean"]
    assert 60 < task["running_seconds"]["p50"] < 128 and task["running_seconds"]["mean"] == 90.0


def test_stats_says_so_when_there_is_nothing(settings):
    settings.AUTOTASK_STATISTICS = False
    shown = manage("stats", "--since", "30d")
    assert shown.out == "No tasks have run in this time.\n"
    assert "AUTOTASK_STATISTICS is False" in shown.err


def test_stats_refuses_a_range_for_which_nothing_is_kept():
    shown = manage("stats", "--since", "31d")
    assert (shown.code, shown.err) == (1, "Statistics are kept for 30 days; give --since 30d or less.")
