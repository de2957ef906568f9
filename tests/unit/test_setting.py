"""Settings are read while other threads override them: Django's object then holds nothing for a moment."""

import threading
import time

import pytest
from django.conf import settings as django_settings

from autotask.conf import settings
from autotask.setting import secret_key


@pytest.fixture
def key():
    """The key, while Django's object holds no settings; another thread puts them back."""
    inside = object.__getattribute__(django_settings, "__dict__")
    key, before = django_settings.SECRET_KEY, dict(inside)

    def put_back():
        time.sleep(0.05)
        inside.update(before)

    thread = threading.Thread(target=put_back)
    inside.clear()
    thread.start()
    yield key
    thread.join()


def test_a_setting_can_be_read_meanwhile(key):
    assert settings.POLL_INTERVAL == 5


def test_a_setting_with_two_names_can_be_read_meanwhile(key):
    assert settings.PULL_TIMEOUT > 0


def test_the_key_can_be_read_meanwhile(key):
    assert secret_key() == key
