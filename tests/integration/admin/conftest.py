"""What the tests of the admin have in common."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from autotask.admin.dashboard import pages
from autotask.admin.dashboard.shared import SharedParts
from autotask.task import RUNNING
from tests.helpers import wait_until
from tests.integration.admin.pages import client_of
from tests.integration.admin.tasks import stop, wait_for_stop


@pytest.fixture(autouse=True)
def fresh_parts(monkeypatch):
    """What an earlier test has shown is not shown again."""
    monkeypatch.setattr(pages, "_parts", SharedParts())


@pytest.fixture
def admin(transactional_db) -> Client:
    """A client that may do everything."""
    return client_of(User.objects.create_superuser("root"))


@pytest.fixture
def staff(transactional_db):
    """Make clients of staff with some permissions of autotask."""

    def make(*codenames: str, **options) -> Client:
        user = User.objects.create_user(f"staff{User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="autotask", codename__in=codenames))
        return client_of(user, **options)

    return make


@pytest.fixture
def running(worker):
    """A task that runs until it is stopped."""
    stop.clear()
    handle = wait_for_stop()
    wait_until(lambda: handle.status == RUNNING)
    yield handle
    stop.set()
