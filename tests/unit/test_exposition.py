"""The text of metrics, read by the parser of Prometheus's own client, and by promtool where it is installed."""

import math
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autotask.metrics.exposition import family, histograms
from autotask.metrics.numbers import COARSER, coarser
from autotask.statistics import BOUNDS, BUCKETS, bucket

STRANGE = 'a\\b"c"\nd {e="f"} #é'


def parsed(lines):
    return {found.name: found for found in text_string_to_metric_families("\n".join(lines) + "\n")}


def test_a_gauge_is_read_as_it_was_meant():
    lines = family("autotask_tasks", "gauge", STRANGE, [({"queue": STRANGE, "state": "ready"}, 3), ({}, 0.25)])
    found = parsed(lines)["autotask_tasks"]
    assert (found.type, found.documentation) == ("gauge", STRANGE)
    assert [(sample.labels, sample.value) for sample in found.samples] == [
        ({"queue": STRANGE, "state": "ready"}, 3.0),
        ({}, 0.25),
    ]


def test_large_counts_keep_all_their_digits():
    assert family("autotask_x_total", "counter", "x", [({}, 2**53 - 1)])[-1] == "autotask_x_total 9007199254740991"


def test_the_buckets_of_a_histogram_add_up():
    lines = histograms("autotask_running_seconds", "x", (0.001, 0.004), [({"task": "a"}, [3, 0, 2], 12.5)])
    found = parsed(lines)["autotask_running_seconds"]
    assert found.type == "histogram"
    assert [(sample.name.rpartition("_")[2], sample.labels.get("le"), sample.value) for sample in found.samples] == [
        ("bucket", "0.001", 3.0),
        ("bucket", "0.004", 3.0),
        ("bucket", "+Inf", 5.0),
        ("sum", None, 12.5),
        ("count", None, 5.0),
    ]


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.003, 1.0, 1.024, 1.025, 16777.0, 10**6])
def test_wider_buckets_hold_the_same(seconds):
    fine = [0] * BUCKETS
    fine[bucket(seconds)] = 7
    wide = coarser(fine)
    bounds = [*BOUNDS[::COARSER], math.inf]
    place = next(at for at, bound in enumerate(bounds) if seconds <= bound)
    assert wide == [7 * (at == place) for at in range(len(bounds))]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_of():
    lines = [
        *family("autotask_tasks", "gauge", STRANGE, [({"queue": STRANGE, "state": "ready"}, 3)]),
        *family("autotask_tasks_ended_total", "counter", "Ended.", [({"task": "shop.a"}, 3)]),
        *histograms(
            "autotask_running_seconds", "Ran.", BOUNDS[::COARSER], [({"task": "a"}, coarser([1] * BUCKETS), 0.5)]
        ),
    ]
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
