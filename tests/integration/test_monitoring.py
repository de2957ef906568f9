"""The views for Prometheus and for probes, as a site includes them."""

import re
import time

import pytest
from django.db import DatabaseError
from django.test import Client
from django.urls import path
from prometheus_client.parser import text_string_to_metric_families

import autotask.health
import autotask.metrics
from autotask.acts import pausing
from autotask.api.progress import views as progress
from autotask.management.commands.autotask import Command
from autotask.statistics import BUCKETS, Counts
from autotask.store import gauges, statistics
from autotask.store.connection import current, execute
from autotask.store.statistics import Key
from tests.documents import ROOT, blocks
from tests.integration.store.shapes import edit, put, sign_on, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]

urlpatterns = [
    path("metrics/", autotask.metrics.view),
    path("health/", autotask.health.view),
    path("strict/", autotask.health.view, {"max_backlog": 2, "max_age": 5.0, "min_workers": 2}),
]

PAGE = ROOT / "docs" / "howto" / "monitor.rst"

TOKEN = "correct-horse-battery"


@pytest.fixture
def client():
    return Client(raise_request_exception=True)


def scrape(client, token=TOKEN):
    return client.get("/metrics/", headers={"Authorization": f"Bearer {token}"})


def samples(response):
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.content.decode()))
    assert len({found.name for found in families}) == len(families)
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "le")): sample.value
        for found in families
        for sample in found.samples
        if sample.labels.get("le") in (None, "+Inf")
    }


def age(seconds):
    edit(f"UPDATE autotask_task SET ready_at = ready_at - interval '{seconds} s' WHERE state = 1")


def test_each_command_on_the_page_is_understood():
    parser = Command().create_parser("manage.py", "autotask")
    words = [command.split()[3:] for block in blocks(PAGE) for command in block.commands]
    assert [parser.parse_args(each).subcommand for each in words] == ["stats", "health"]


def test_the_names_of_the_metrics_on_the_page_are_right(client, settings):
    settings.AUTOTASK_METRICS_TOKEN = TOKEN
    exposed = re.findall("^# TYPE (\\w+)", scrape(client).content.decode(), re.M)
    assert re.findall(r"^``(autotask_\w+)``", PAGE.read_text(encoding="utf-8"), re.M) == exposed


def test_metrics_are_those_of_the_site(client, settings):
    # Given
    settings.AUTOTASK_METRICS_TOKEN = TOKEN
    put(3)
    put(2, delay=60.0, queue='odd "queue"')
    take(sign_on(), limit=1)
    age(90)
    counts = Counts(started=7, succeeded=5, failed=2, retried=1, ran=3.5, running=[4, *[0] * (BUCKETS - 2), 3])
    statistics.add(current(), {Key(int(time.time()) // 60 * 60, "shop.a", "default"): counts})
    # When
    response = scrape(client)
    # Then
    seen = samples(response)
    assert response.status_code == 200
    assert seen["autotask_tasks", "default", "ready"] == 2
    assert seen["autotask_tasks", "default", "running"] == 1
    assert seen["autotask_tasks", 'odd "queue"', "scheduled"] == 2
    assert 90 <= seen["autotask_oldest_ready_seconds", "default"] < 300
    assert (seen["autotask_workers", "worker"], seen["autotask_workers", "companion"]) == (1, 0)
    assert seen["autotask_tasks_ended_total", "done", "default", "shop.a"] == 5
    assert seen["autotask_tasks_ended_total", "error", "default", "shop.a"] == 2
    assert seen["autotask_attempts_started_total", "default", "shop.a"] == 7
    assert seen["autotask_running_seconds_count", "default", "shop.a"] == 7
    assert seen["autotask_running_seconds_sum", "default", "shop.a"] == 3.5
    assert seen["autotask_running_seconds_bucket", "default", "shop.a"] == 7


def test_metrics_of_an_empty_site_can_be_parsed(client, settings):
    settings.AUTOTASK_METRICS_TOKEN = [TOKEN]
    assert samples(scrape(client)) == {("autotask_workers", "companion"): 0, ("autotask_workers", "worker"): 0}


@pytest.mark.parametrize("setting", [None, (), []])
def test_without_a_token_in_the_settings_nobody_reads_metrics(client, settings, setting):
    settings.AUTOTASK_METRICS_TOKEN = setting
    response = scrape(client)
    assert response.status_code == 403 and b"AUTOTASK_METRICS_TOKEN" in response.content


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer caf\u00e9", TOKEN]
)
def test_a_wrong_token_is_refused(client, settings, header):
    settings.AUTOTASK_METRICS_TOKEN = TOKEN
    response = client.get("/metrics/", headers={"Authorization": header})
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert TOKEN.encode() not in response.content


def test_both_tokens_are_accepted_while_one_is_replaced(client, settings):
    settings.AUTOTASK_METRICS_TOKEN = ["new-correct-horse-battery", TOKEN]
    assert scrape(client).status_code == scrape(client, "new-correct-horse-battery").status_code == 200


@pytest.mark.parametrize("address", ["/metrics/", "/health/"])
def test_the_views_only_read(client, address):
    assert client.post(address).status_code == 405


def test_a_site_that_asks_everybody_to_log_in_asks_neither_prometheus_nor_probes(client, settings):
    settings.AUTOTASK_METRICS_TOKEN = TOKEN
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get("/metrics/").status_code == 401
    assert scrape(client).status_code == 200
    # Some probes take a redirect for health.
    assert client.get("/health/").status_code == 503
    assert all(view.login_required is False for view in (progress.show, progress.stream))


@pytest.fixture
def _database_away(monkeypatch):
    def fail(*_):
        raise DatabaseError("gone\nfor good")

    monkeypatch.setattr(gauges, "rows", fail)


@pytest.mark.usefixtures("_database_away")
def test_without_the_database_both_answer_503(client, settings):
    settings.AUTOTASK_METRICS_TOKEN = TOKEN
    assert scrape(client).status_code == 503
    response = client.get("/health/")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == {
        "ok": False,
        "text": "the database does not answer",  # strangers need not know its host and user
    }


def test_a_site_without_tables_is_not_healthy(client, settings):
    settings.AUTOTASK_METRICS_TOKEN = TOKEN
    execute(current(), "ALTER TABLE autotask_worker RENAME TO autotask_gone")
    try:
        assert scrape(client).status_code == client.get("/health/").status_code == 503
    finally:
        execute(current(), "ALTER TABLE autotask_gone RENAME TO autotask_worker")


def test_a_site_is_healthy_while_a_worker_lives_and_no_task_waits_long(client):
    # Given
    assert client.get("/health/").status_code == 503
    sign_on()
    put(3)
    # When
    response = client.get("/health/")
    # Then
    assert response.status_code == 200
    document = response.json()
    assert document["status"] == "ok"
    assert list(document["checks"]) == ["database", "workers", "age", "backlog"]
    assert document["checks"]["workers"] == {
        "ok": True,
        "text": "1 worker alive, at least 1 needed",
        "alive": 1,
        "min": 1,
    }
    assert document["checks"]["backlog"]["ready"] == 3
    # And
    age(61)
    response = client.get("/health/")
    assert (response.status_code, response.json()["status"]) == (503, "failing")
    assert response.json()["checks"]["age"]["queue"] == "default"


def test_the_bounds_stand_in_the_addresses_of_the_site(client):
    sign_on()
    put(3)
    assert client.get("/health/").status_code == 200
    checks = client.get("/strict/").json()["checks"]
    assert {name: check["ok"] for name, check in checks.items()} == {
        "database": True,
        "workers": False,
        "age": True,
        "backlog": False,
    }
    assert checks["backlog"] == {"ok": False, "text": "3 tasks ready or more", "ready": 3, "max": 2}


def test_tasks_of_paused_queues_may_wait(client):
    # Given
    sign_on()
    put(1)
    put(1, queue="mail")
    age(61)
    # When
    pausing.pause(queue="mail", by="anna")
    assert client.get("/health/").json()["checks"]["age"]["ok"] is False
    pausing.pause(queue="default", by="anna")
    # Then
    assert client.get("/health/").status_code == 200


def test_gauges_stop_counting_at_a_bound(transactional_db):
    put(7)
    put(5, queue="mail")
    assert {name: number for name, (number, _) in gauges.ready(current(), 6).items()} == {"default": 6, "mail": 5}


def test_a_worker_whose_lease_is_over_does_not_live(client):
    sign_on(lease=-1)
    assert gauges.workers(current()) == {}
    assert gauges.workers_of_host(current(), "here") == 0
    assert not client.get("/health/").json()["checks"]["workers"]["ok"]
