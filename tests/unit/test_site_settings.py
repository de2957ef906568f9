"""What processes of one site compare before they share a guard: all settings, but for what differs by chance."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import lazy

from autotask.companion import site_settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "another"),
        ("OF_THE_PROJECT", "new"),
        ("OF_THE_PROJECT", b"new"),
        ("OF_THE_PROJECT", None),
        ("OF_THE_PROJECT", {"deep": [{"er": ("new",)}]}),
    ],
)
def test_another_value_of_any_setting_counts(settings, name, value):
    settings.OF_THE_PROJECT = "old"
    before = site_settings.digest()
    assert before and before == site_settings.digest()
    setattr(settings, name, value)
    assert site_settings.digest() != before


def test_objects_count_by_their_type_for_each_process_has_its_own(settings):
    settings.OF_THE_PROJECT = [object(), lambda: None]
    before = site_settings.digest()
    settings.OF_THE_PROJECT = [object(), lambda: None]
    assert site_settings.digest() == before


def test_the_order_of_a_set_does_not_count():
    code = "from autotask.companion.site_settings import plain; print(plain({'a', 'b', 'c', 'd'}))"
    results = {
        subprocess.check_output([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(seed)})
        for seed in range(3)
    }
    assert len(results) == 1


def test_texts_that_are_evaluated_late_are_not_evaluated(settings):
    def refuse():
        raise AssertionError("evaluated")

    settings.OF_THE_PROJECT = [("de", lazy(refuse, str)())]
    assert site_settings.digest()


class Refusing(dict):
    def items(self):
        raise ImproperlyConfigured("not now")


LOOP = []
LOOP.append(LOOP)


@pytest.mark.parametrize("value", [Refusing(), LOOP], ids=["refusing", "loop"])
def test_settings_that_cannot_be_compared_harm_nobody(settings, value):
    settings.OF_THE_PROJECT = value
    assert site_settings.digest() is None
