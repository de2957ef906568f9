"""What the tests of the HTTP API have in common."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory

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
