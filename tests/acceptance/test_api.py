"""The HTTP API on real servers: keys, waits without threads, one task for one idempotency key, and no input that breaks it."""

import dataclasses
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import psutil
import pytest

from autotask.store.connection import rows
from tests.acceptance.kinds import KINDS
from tests.helpers import LONG, patient, wait_until

TASKS = """
import datetime, time
from autotask.tasks import delayed_task

@delayed_task(name="add", api=True)
def add(x: int, y: int = 0) -> int:
    return x + y

@delayed_task(name="greet", api=True, json_schema={
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "at": {"type": "string", "format": "date"}},
    "required": ["name"],
    "additionalProperties": False,
})
def greet(params):
    return {"hello": params["name"]}

@delayed_task(name="fail", api=True)
def fail(reason: str = ""):
    raise ValueError(reason)

@delayed_task(name="once", api=True, unique=True, on_conflict="raise")
def once(n: int):
    return n

@delayed_task(name="nap", api=True)
def nap(seconds: float):
    time.sleep(min(seconds, 5))
    return seconds
"""

SERVERS = [kind for kind in KINDS if kind.name in ("gunicorn", "uvicorn")]


class Api:
    """A client of the API of a server, with a key for everything."""

    def __init__(self, site, server) -> None:
        actions = ("submit", "read", "cancel", "retry", "discard", "metadata", "traceback")
        words = [word for action in actions for word in ("--scope", action)]
        shown = site.manage("autotask", "keys", "create", "everything", *words)
        self.key = next(line for line in shown.splitlines() if line.startswith("autotask_"))
        self.url = f"{server.url}tasks/"

    def send(self, path: str = "", body=None, **headers):
        """Return status and value of an answer."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture(params=SERVERS, ids=lambda kind: kind.name)
def serve(request, site):
    """Start a server whose site has some tasks."""
    if not request.param.version():
        pytest.skip("not installed")
    site.app("called", tasks=TASKS)
    return lambda **settings: site.serve(request.param, **settings)


def test_a_task_is_submitted_awaited_and_seen(site, serve):
    server = serve()
    api = Api(site, server)
    status, task = api.send(body={"name": "add", "params": {"x": 40, "y": 2}})
    assert (status, task["name"]) == (201, "add")
    status, task = api.send(f"{task['id']}/?wait=20")
    assert (status, task["status"], task["result"]) == (200, "done", 42)
    assert api.send(body={"name": "greet", "params": {"name": 5}})[0] == 422
    api.key = api.key[:-1] + "_"
    assert api.send()[0] == 401
    assert api.key[-40:] not in server.output()


def test_fifty_requests_with_one_idempotency_key_make_one_task(site, serve):
    api = Api(site, serve())
    with ThreadPoolExecutor(10) as threads:
        requests = [
            threads.submit(api.send, body={"name": "add", "params": {"x": 1}}, Idempotency_Key="k-1") for _ in range(50)
        ]
        answers = [request.result() for request in requests]
    assert {status for status, _ in answers} == {201}
    assert len({task["id"] for _, task in answers}) == 1
    [(count,)] = rows(
        site.database,
        "SELECT (SELECT count(*) FROM autotask_live WHERE name = 'add') + (SELECT count(*) FROM autotask_result)",
    )
    assert count == 1


LISTENING = """
SELECT count(*) FILTER (WHERE application_name = 'autotask listener'), count(*) FILTER (WHERE application_name = '')
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


[UVICORN] = [kind for kind in SERVERS if kind.name == "uvicorn"]

#: Django by itself, whose answers are held inside it.
INSIDE = dataclasses.replace(
    UVICORN,
    command=("-m", "uvicorn", "--factory", "django.core.asgi:get_asgi_application", "--port", "{port}"),
)


@pytest.mark.parametrize("kind", [UVICORN, INSIDE], ids=["outside Django", "inside"])
def test_clients_that_wait_on_asgi_hold_no_thread_and_share_one_connection(site, kind):
    # Given
    if not kind.version():
        pytest.skip("not installed")
    site.app("called", tasks=TASKS)
    server = site.serve(kind)
    api = Api(site, server)
    before = psutil.Process(server.pid).num_threads()
    ids = [api.send(body={"name": "nap", "params": {"seconds": 0}, "delay": 3600})[1]["id"] for _ in range(5)]

    # When
    answers = []
    clients = [
        threading.Thread(target=lambda id=ids[number % 5]: answers.append(api.send(f"{id}/?wait=20")))
        for number in range(50)
    ]
    for client in clients:
        client.start()

    # Then
    def settled():
        [(listening, _)] = rows(site.database, LISTENING)
        return listening == 1 and psutil.Process(server.pid).num_threads() <= before + 5

    def stays_so():
        if not settled():
            return False
        time.sleep(1)  # in which more of them may come
        return settled()

    wait_until(stays_so, what="no thread for each client")
    for id in ids:
        assert api.send(f"{id}/cancel", body={})[1]["status"] == "cancelled"
    for client in clients:
        client.join(patient(20))
    assert [(status, task["status"]) for status, task in answers] == [(200, "cancelled")] * 50


#: A task that is discarded has no answer: 204. Valid requests may come too early or too late: 409, 410 and 424 are answers as well.
EXPECTED = """
[checks]
positive_data_acceptance.expected-statuses = [200, 201, 202, 204, 304, 404, 409, 410, 424]
"""


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed")
@pytest.mark.parametrize("serve", SERVERS if LONG else SERVERS[-1:], ids=lambda kind: kind.name, indirect=True)
def test_no_input_breaks_the_api(site, serve):
    # Given
    server = serve(API_WAIT=0.1)
    api = Api(site, server)

    (site.folder / "schemathesis.toml").write_text(EXPECTED)

    # When
    command = [sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run", f"{api.url}openapi.json"]
    done = subprocess.run(
        [
            *command,
            *("--header", f"Authorization: Bearer {api.key}", "--url", api.url.rstrip("/")),
            *(
                "--phases",
                "coverage,fuzzing,stateful" if LONG else "fuzzing,stateful",
                "--max-examples",
                "30" if LONG else "5",
                "--seed",
                "7",
                "--no-color",
            ),
            *("--checks", "all", "--exclude-checks", "use_after_free,ensure_resource_availability"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=site.folder,
    )

    # Then
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Internal Server Error" not in server.output()
    _, listed = api.send("?limit=200")
    assert listed["tasks"]
