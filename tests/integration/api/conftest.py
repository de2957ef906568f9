"""What the tests of the HTTP API have in common."""

import json

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client, RequestFactory

from autotask.acts import keys
from autotask.api import tokens


@pytest.fixture(autouse=True)
def full_buckets():
    """Nobody has called yet."""
    tokens.wrong_keys.clear()
    tokens.requests.clear()
    keys.forget_recent()


@pytest.fixture
def key(transactional_db):
    """Make keys with some scopes; return their secrets."""
    made = []

    def make(*scopes: str, **options) -> str:
        made.append(keys.create(f"key-{len(made)}", list(scopes), **options))
        return made[-1].secret

    return make


@pytest.fixture
def user(transactional_db):
    """Make users with some permissions of autotask."""

    def make(*codenames: str) -> User:
        user = User.objects.create_user(f"user{User.objects.count()}")
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="autotask", codename__in=codenames))
        return user

    return make


@pytest.fixture
def request_with():
    """Make requests with a key."""

    def make(secret: str | None = None, method: str = "GET", **extra):
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return RequestFactory().generic(method, "/", headers=headers, **extra)

    return make


class Api:
    """A client of the API, through Django's sync or async handler."""

    def __init__(self, is_async: bool, secret: str | None) -> None:
        self._client = AsyncClient() if is_async else Client()
        self._headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        self._send = async_to_sync(self._send_async) if is_async else self._client.generic

    async def _send_async(self, *args, **how):
        return await self._client.generic(*args, **how)

    def request(self, method: str, address: str, body=None, **headers):
        """Send a request, with a body of JSON unless it is bytes."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = headers.pop("content_type", "application/json")
        headers = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        response = self._send(method, address, data, content_type=kind, headers=headers)
        is_json = response.content and "json" in response.get("Content-Type", "")
        response.value = json.loads(response.content) if is_json else None
        return response

    def get(self, address: str, **headers):
        return self.request("GET", address, **headers)

    def post(self, address: str, body=None, **headers):
        return self.request("POST", address, body, **headers)

    def submit(self, name: str, **params):
        response = self.post("/tasks/", {"name": name, "params": params})
        assert response.status_code == 201, response.content
        return response.value["id"]


@pytest.fixture(params=["sync", "async"])
def api_with(request, key, settings):
    """Make clients whose keys have some scopes."""
    settings.ROOT_URLCONF = "tests.integration.api.urls"
    settings.AUTOTASK_API_TASKS = ["api.listed"]

    def make(*scopes: str) -> Api:
        return Api(request.param == "async", key(*scopes) if scopes else None)

    return make


@pytest.fixture
def api(api_with):
    """A client that may do everything."""
    return api_with("submit", "read", "cancel", "retry", "discard")
