"""Fixtures: a mail server, and deliveries that are tried again at once."""

from collections.abc import Iterator

import pytest

from autotask.notifications import delivery
from tests.integration.notifications.post_office import PostOffice, settings_for


@pytest.fixture
def post_office(settings) -> Iterator[PostOffice]:
    """A mail server that is open, and is that of the settings."""
    office = PostOffice()
    for name, value in settings_for(office.port).items():
        setattr(settings, name, value)
    office.open()
    yield office
    office.close()


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Try again after a tenth of a second."""
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(delivery, "LONGEST_WAIT", 0.1)
