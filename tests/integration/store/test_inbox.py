"""Claims of the messages of a background worker."""

import uuid

import pytest
from django.utils import timezone

from autotask.models import BackgroundInstance
from autotask.store import inbox
from autotask.store.background import PREFIX
from autotask.store.background_hosting import Grant
from autotask.store.connection import current, execute
from autotask.task import BACKGROUND
from tests.integration.store.shapes import put, sign_on

pytestmark = pytest.mark.django_db(transaction=True)

MOVE = "UPDATE autotask_task SET run_at = %(at)s::timestamptz WHERE id = %(id)s"


def test_messages_are_claimed_in_their_order_also_in_the_hour_that_comes_twice(settings):
    # Given: half past two in summer time, and then a quarter past two in winter time
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    host = {"worker_id": sign_on(), "host": "here", "pid": 1, "taken_at": timezone.now()}
    instance = BackgroundInstance.objects.create(name="take", place="", fence=1, start_id=uuid.uuid4(), **host)
    ids = put(2, name=f"{PREFIX}take", executor=BACKGROUND)
    for id, at in zip(ids, ("2025-10-26 00:30+00", "2025-10-26 01:15+00"), strict=True):
        execute(current(), MOVE, {"id": id, "at": at})

    # When
    address = inbox.Address(Grant("take", "", 1, instance.start_id, None), instance.worker_id)
    claimed = inbox.take(current(), address, 10)

    # Then
    assert [task.id for task in claimed] == ids
