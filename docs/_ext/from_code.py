"""Directives that list settings and exceptions as the code has them, so that the pages cannot go stale."""

import inspect
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from autotask import exceptions
from autotask.conf import Settings
from autotask.setting import Setting


class FromCode(SphinxDirective):
    """A directive that generates reStructuredText and parses it."""

    def lines(self) -> list[str]:
        """Return the text."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the text in place of the directive."""
        node = nodes.section(document=self.state.document)
        self.state.nested_parse(StringList(self.lines(), source=type(self).__name__), self.content_offset, node)
        return node.children


class SettingsList(FromCode):
    """``.. autotask-settings::`` with names, without ``AUTOTASK_``, as its content."""

    has_content = True

    def lines(self) -> list[str]:
        """Return the settings that the content names."""
        known = {setting.name.removeprefix("AUTOTASK_"): setting for setting in Settings()}
        asked = " ".join(self.content).split()
        shown = self.env.temp_data.setdefault("autotask_settings", set())
        shown.update(asked)
        return [line for name in asked for line in _setting(known[name])]


class NoOtherSettings(FromCode):
    """``.. autotask-no-other-settings::`` fails the build if a setting is missing on the page."""

    def lines(self) -> list[str]:
        """Return nothing, or raise."""
        names = {setting.name.removeprefix("AUTOTASK_") for setting in Settings()}
        missing = names - self.env.temp_data.get("autotask_settings", set())
        if missing:
            raise self.error(f"These settings are not on this page: {', '.join(sorted(missing))}")
        return []


class ExceptionsList(FromCode):
    """``.. autotask-exceptions::``"""

    def lines(self) -> list[str]:
        """Return all exceptions, in the order of the module."""
        found = [item for item in vars(exceptions).values() if inspect.isclass(item)]
        return [
            line
            for item in found
            if issubclass(item, (exceptions.AutotaskError, exceptions.TaskInterrupted))
            and item.__module__ == exceptions.__name__
            for line in _exception(item)
        ]


def _setting(setting: Setting[Any]) -> list[str]:
    meaning = setting.meaning[0].upper() + setting.meaning[1:]
    return [
        f".. py:data:: {setting.name}",
        "    :no-index-entry:",
        "",
        f"    {_plain(meaning)}",
        "",
        f"    Default: ``{setting.shown_default}``. Expected: {_plain(setting.kind.expected)}.",
        "",
    ]


def _plain(text: str) -> str:
    return text.replace("*", r"\*").replace("_ ", r"\_ ")


def _exception(item: type[BaseException]) -> list[str]:
    bases = ", ".join(_base(base) for base in item.__bases__)
    text = " ".join(inspect.cleandoc(item.__doc__ or "").split())
    if issubclass(item, exceptions.AutotaskError):
        text = f"``{text}``"  # It is the template of the message.
    return [
        f".. py:exception:: autotask.exceptions.{item.__name__}",
        "",
        f"    Bases: {bases}",
        "",
        f"    {text}",
        "",
    ]


def _base(base: type) -> str:
    own = base.__module__ == exceptions.__name__
    return f":py:exc:`~autotask.exceptions.{base.__name__}`" if own else f"``{base.__name__}``"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("autotask-settings", SettingsList)
    app.add_directive("autotask-no-other-settings", NoOtherSettings)
    app.add_directive("autotask-exceptions", ExceptionsList)
    return {"parallel_read_safe": True}
