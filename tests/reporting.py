"""Report failures as they happen, and completely at the end, even if it fails to show one of them.

pytest alone shows failures only at its end, and does not get there if an exception cannot be shown, a report cannot be sent to
the process that collects them, or a hook fails. With pytest-xdist such a run even passes.
"""

import traceback
from typing import Any

import pytest


class Reporting:
    """Hooks that keep the list of failures whole.

    :param config: of the process, which may be one that only runs tests for another.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        try:
            return (yield)
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException:  # noqa: B036 - pytest lets SystemExit through, even from a repr()
            return _plain(item, call)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Any:
        return _portable((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Any:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or self._session is None:
            return (yield)
        try:
            yield
        except Exception:
            self._session.testsfailed += 1
            _write(terminal, f"ERROR while {report.nodeid} was reported:\n{traceback.format_exc()}")
        if report.failed:
            _write(terminal, _line(report))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporting(config), "autotask-reporting")


def _write(terminal: Any, text: str) -> None:
    terminal.ensure_newline()
    if terminal._tw.width_of_current_line:  # the dots
        terminal._tw.line()
    terminal.write_line(text, red=True)


def _line(report: pytest.TestReport) -> str:
    word = "FAILED" if report.when == "call" else f"ERROR in the {report.when} of"
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else str(report.longrepr)
    return f"{word} {report.nodeid} - {message.strip().partition(chr(10))[0][:300]}"


def _plain(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """Return a report of an exception that cannot be shown: its traceback, and the name of its class."""
    assert call.excinfo is not None
    came_from = [
        line for line in traceback.format_tb(call.excinfo.tb) if "/_pytest/" not in line and "/pluggy/" not in line
    ]
    text = f"{type.__repr__(call.excinfo.type)} cannot be shown; it came from\n{''.join(came_from)}"
    sections = [(f"Captured {key} {when}", said) for when, key, said in item._report_sections]
    return pytest.TestReport(
        item.nodeid,
        item.location,
        dict.fromkeys(item.keywords, 1),
        "failed",
        text,
        call.when,
        sections,
        call.duration,
        call.start,
        call.stop,
        user_properties=item.user_properties,
    )


def _portable(value: Any) -> Any:
    """Return a value that can be sent to another process: text without lone surrogates, and plain values."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_portable(key): _portable(each) for key, each in value.items()}
        case tuple():
            return tuple(_portable(each) for each in value)
        case list():
            return [_portable(each) for each in value]
        case None | bool() | int() | float() | bytes():
            return value
    return object.__repr__(value)
