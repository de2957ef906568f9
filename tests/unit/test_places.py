"""Everything that a site can name has its place in the documentation: the names come from the code."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterable
from types import ModuleType

import pytest
from django.apps import apps
from django.dispatch import Signal

from autotask import options, pytest_plugin, reasons, signals, task, tasks, testing, why
from autotask.background.options import BackgroundOptions, Kind
from autotask.conf import Settings
from autotask.management.commands.autotask import SUBCOMMANDS
from autotask.metrics import numbers
from autotask.schedules.policy import MISFIRES, OVERLAPS
from autotask.templatetags import autotask as tags
from tests.documents import ROOT

#: For testing tools, and described where they are defined.
INTERNAL_SIGNALS = {"tasks_stored", "tasks_to_run_now"}

#: What a background worker gets from its decorator, not from its author.
DERIVED = {"kind", "loop"}


def page(name: str) -> str:
    """The source of a page."""
    return (ROOT / "docs" / f"{name}.rst").read_text(encoding="utf-8")


def missing(names: Iterable[str], name: str, pattern: str) -> list[str]:
    """Return the names that a page does not have in the way of the pattern, where NAME stands for one."""
    text = page(name)
    return [each for each in sorted(names) if not re.search(pattern.replace("NAME", re.escape(each)), text, re.M)]


def strings(module: ModuleType) -> set[str]:
    """Return the texts in the code of a module."""
    tree = ast.parse(inspect.getsource(module))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


PLACES = {
    "settings": (
        lambda: [setting.name.removeprefix("AUTOTASK_") for setting in Settings()],
        "reference/settings",
        r"^    (?:\w+ )*NAME(?: \w+)*$",
    ),
    "options of definitions": (
        lambda: options.DEFINITION_OPTION_NAMES,
        "reference/decorators",
        r"^``NAME``  ",
    ),
    "options of calls": (lambda: options.CALL_OPTION_NAMES, "reference/decorators", r"``NAME``"),
    "misfire": (lambda: MISFIRES, "howto/schedules", r"``(?:misfire=)?\"NAME\"``"),
    "overlap": (lambda: OVERLAPS, "howto/schedules", r"``(?:overlap=)?\"NAME\"``"),
    "kinds of background workers": (lambda: list(Kind), "howto/background_workers", r"``NAME``"),
    "options of background workers": (
        lambda: {field.name for field in dataclasses.fields(BackgroundOptions)} - DERIVED,
        "howto/background_workers",
        r"``NAME\b|\*\*NAME``",
    ),
    "sub-commands": (lambda: SUBCOMMANDS, "reference/commands", r"^:ref:`NAME <cmd-NAME>`  "),
    "sections of sub-commands": (lambda: SUBCOMMANDS, "reference/commands", r"^.. _cmd-NAME:$"),
    "signals": (
        lambda: {name for name, each in vars(signals).items() if isinstance(each, Signal)} - INTERNAL_SIGNALS,
        "reference/signals",
        r"^.. py:data:: autotask\.signals\.NAME$",
    ),
    "status": (lambda: [status.name for status in task.Status], "states", r"^``(?:\w+``, ``)*NAME``"),
    "states": (lambda: [state.name.lower() for state in task.State], "states", r"^\d +NAME  "),
    "codes of why": (lambda: list(why.Code), "reference/why", r"^``NAME``$"),
    "codes of reasons": (lambda: list(reasons.Code), "reference/commands", r"``NAME``"),
    "metrics": (
        lambda: {each for each in strings(numbers) if re.fullmatch(r"autotask_\w+", each)},
        "howto/monitor",
        r"``NAME``",
    ),
    "permissions": (
        lambda: {name for model in apps.get_app_config("autotask").get_models() for name, _ in model._meta.permissions},
        "howto/admin",
        r"``(?:autotask\.)?NAME``",
    ),
    "testing": (lambda: testing.__all__, "reference/testing", r"NAME"),
    "fixtures": (
        lambda: {name for name in vars(pytest_plugin) if name.startswith("autotask_")},
        "howto/test_your_tasks",
        r"``NAME``",
    ),
    "template tags": (lambda: tags.register.tags | tags.register.filters, "howto/progress", r"NAME"),
    "extras": (
        lambda: set(re.findall(r'^        "([\w-]+)": \[', (ROOT / "setup.py").read_text(encoding="utf-8"), re.M)),
        "reference/extras",
        r"^``NAME``  ",
    ),
}


@pytest.mark.parametrize("kind", PLACES)
def test_each_name_has_its_place(kind):
    names, name, pattern = PLACES[kind]
    found = set(names())
    assert found
    assert missing(found, name, pattern) == []


@pytest.mark.parametrize(
    ("decorator", "names"),
    [(tasks.periodic_task, tasks._PERIODIC_OPTION_NAMES), (tasks.cron_task, tasks._CRON_OPTION_NAMES)],
)
def test_each_option_of_a_timetable_is_in_the_text_that_the_page_shows(decorator, names):
    assert f".. autodecorator:: autotask.tasks.{decorator.__name__}(" in page("reference/decorators")
    described = set(re.findall(r":param (\w+):", decorator.__doc__))
    described |= (
        set(re.findall(r":param (\w+):", tasks.periodic_task.__doc__))
        if "periodic_task" in decorator.__doc__
        else set()
    )
    assert set(names) - described == set()


def test_a_name_without_a_place_is_noticed():
    assert missing(["THREADS", "THREADZ"], "reference/settings", PLACES["settings"][2]) == ["THREADZ"]
