"""The waits of the tests themselves."""

import pytest

from tests import helpers
from tests.helpers import wait_until


def test_waiting_gives_up_with_a_word_about_what_was_waited_for(monkeypatch):
    monkeypatch.setattr(helpers, "PATIENCE", 1.0)
    with pytest.raises(AssertionError, match="the moon did not come true within 0.01 s; last value: 0"):
        wait_until(lambda: 0, 0.01, "the moon")


def test_a_busy_machine_is_waited_for_longer(monkeypatch):
    monkeypatch.setattr(helpers, "PATIENCE", 0.001)

    with pytest.raises(AssertionError, match="within 0.02 s"):
        wait_until(lambda: False)
