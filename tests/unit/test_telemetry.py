"""AUTOTASK_TELEMETRY: what a path may lead to, and what is said of others."""

import os
import subprocess
import sys
import types
from contextlib import contextmanager

import pytest

from autotask import telemetry as in_use
from autotask.checks.about_settings import check_telemetry
from autotask.exceptions import TimeLimitExceeded
from autotask.telemetry import hooks
from autotask.telemetry.interface import Telemetry
from tests.helpers import ROOT


class Mine(Telemetry):
    """Told of nothing."""


mine = Mine()


class Interrupted(Telemetry):
    """Is interrupted at the end of a call."""

    @contextmanager
    def call(self, call):
        yield
        raise TimeLimitExceeded


class Partly:
    """Lacks most methods."""

    def call(self, call):
        """Do nothing."""


def test_a_path_leads_to_an_object_its_class_or_the_object_of_a_module(monkeypatch):
    module = types.ModuleType("a_module")
    module.telemetry = mine
    monkeypatch.setitem(sys.modules, "a_module", module)
    assert hooks.find(f"{__name__}.mine") is mine
    assert hooks.find(f"{__name__}.Mine").__class__ is Mine
    assert hooks.find("a_module") is mine


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("tests.unit.nowhere", "does not define"),
        ("no_such_package.telemetry", "No module named 'no_such_package'"),
        ("tests.unit.test_telemetry", "the module has no object telemetry"),
        ("tests.unit.test_telemetry.Partly", "it has no method attempt()"),
    ],
)
def test_the_check_says_why_a_path_cannot_be_used(settings, path, problem, caplog):
    settings.AUTOTASK_TELEMETRY = [path]
    [message] = check_telemetry()
    assert message.id == "autotask.E023"
    assert problem in message.msg


def test_a_missing_package_is_named(settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    monkeypatch.delitem(sys.modules, "autotask.telemetry.sentry", raising=False)
    settings.AUTOTASK_TELEMETRY = ["autotask.telemetry.sentry"]
    [message] = check_telemetry()
    assert "sentry_sdk" in message.msg
    assert "extras" in message.hint


def test_one_that_cannot_be_used_is_left_out_and_logged(settings, caplog):
    settings.AUTOTASK_TELEMETRY = ["no_such_package.telemetry", f"{__name__}.mine"]
    assert list(in_use.used._told) == [f"{__name__}.mine"]
    assert "no_such_package.telemetry" in caplog.text


def test_the_interruption_of_a_task_is_not_lost_where_telemetry_is_told_of_a_call(settings):
    # Given: the time of the task is over just then
    settings.AUTOTASK_TELEMETRY = [f"{__name__}.mine", f"{__name__}.Interrupted"]

    # Then
    with pytest.raises(TimeLimitExceeded):
        in_use.used.sent("some.task", "default", False, lambda carried: [], lambda tasks: [])


def test_without_the_setting_nothing_is_imported():
    code = (
        "import sys, django; django.setup(); from autotask import telemetry; assert telemetry.used is None; "
        "print([name for name in sys.modules if name.startswith(('autotask.telemetry.', 'opentelemetry', 'sentry_sdk'))])"
    )
    environment = {**os.environ, "DATABASE_URL": "postgresql://nobody@localhost/none"}
    words = [sys.executable, "-c", code]
    found = subprocess.run(words, cwd=ROOT / "testproject", env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
