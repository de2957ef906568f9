"""When a worker looks after its background workers again."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import connection

from autotask.store.background import LOOK_AGAIN
from autotask.worker.background import care
from autotask.worker.background.care import LOOK_EVERY, Care

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_look_that_takes_a_while_does_not_make_the_next_one_early(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given: a clock that goes on by milliseconds while one looks
    clock = SimpleNamespace(now=1000.0)

    def monotonic() -> float:
        clock.now += 0.002
        return clock.now

    monkeypatch.setattr(care, "keeps_session", lambda connection: True)
    monkeypatch.setattr(care, "time", SimpleNamespace(monotonic=monotonic))
    service = Care(cast(Any, SimpleNamespace(lending=SimpleNamespace(thin_out=lambda: None))), lambda queue: False)

    # When: the thread of the services counts from the beginning of a look
    began = clock.now
    waits = [service.run_once(connection)]
    for _ in range(3):
        clock.now = began = began + waits[-1]
        waits.append(service.run_once(connection))

    # Then
    assert waits == [LOOK_EVERY] * 4

    # And one that comes before its time, since somebody has called, is followed by another
    clock.now += LOOK_EVERY / 2
    assert service.run_once(connection) == LOOK_AGAIN
    clock.now += LOOK_AGAIN
    assert service.run_once(connection) == LOOK_EVERY
