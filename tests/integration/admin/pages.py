"""The pages as a browser has them, and rows for them to show."""

import uuid
from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from autotask.models import Result, Worker
from autotask.task import State, new_id

TASKS = "/admin/autotask/taskrecord/"
WORKERS = "/admin/autotask/worker/"
SCHEDULES = "/admin/autotask/schedule/"


def client_of(user: User, **options) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def page_of(handle) -> str:
    return f"{TASKS}{handle.id}/change/"


def listed(client: Client, **query) -> list[uuid.UUID]:
    response = client.get(TASKS, query)
    assert response.status_code == 200
    return [record.id for record in response.context["cl"].result_list]


def act(client: Client, action: str, *ids, query: str = "", **more) -> list[str]:
    """Choose tasks in the list and run an action; return the messages."""
    data = {"action": action, "index": "0", "_selected_action": [str(id) for id in ids], **more}
    response = client.post(TASKS + query, data)
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in client.get(response["Location"]).context["messages"]]


def ended(state: State = State.DONE, **fields) -> Result:
    """Store a task that has ended, without running it."""
    now = timezone.now()
    values = {
        "id": new_id(),
        "state": state,
        "queue": "default",
        "priority": 0,
        "name": "some.task",
        "arguments": "x=1",
        "created_at": now,
        "run_at": now,
        "started_at": now,
        "ended_at": now + timedelta(seconds=1),
        "kept_until": now + timedelta(days=1),
        "attempt": 1,
        "retries": 0,
        "ttl": 300,
        **fields,
    }
    return Result.objects.create(**values)


def registered(**fields) -> Worker:
    """Register a worker that does not exist."""
    now = timezone.now()
    values = {
        "id": uuid.uuid4(),
        "kind": "worker",
        "host": "web-1",
        "boot_id": "boot",
        "pid": 4711,
        "pid_started": 1,
        "threads": 4,
        "version": "1",
        "started_at": now,
        "seen_at": now,
        "lease_until": now + timedelta(minutes=1),
        **fields,
    }
    return Worker.objects.create(**values)
