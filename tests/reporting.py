"""Report failures as they happen, and completely at the end, even if it fails to show one of them.

pytest alone shows failures only at its end, and does not get there if an exception cannot be shown, a report cannot be sent to
the process that collects them, or a hook fails. With pytest-xdist such a run even passes, so the end of a run checks that a
result of each test has arrived.
"""

import sys
import traceback
from typing import Any

import pytest

#: The parts of a test. Without the first one there is no second.
WHEN = ("setup", "call", "teardown")


class Reporting:
    """Hooks that keep the list of failures whole.

    :param config: of the process, which may be one that only runs tests for another.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._session: pytest.Session | None = None
        self._has_begun = False
        self._unheard: set[tuple[str, str]] = set()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        try:
            return (yield)
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException:  # noqa: B036 - pytest lets SystemExit through, even out of a repr()
            return _plain(item, call, call.excinfo or pytest.ExceptionInfo.from_current())

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Any:
        return _portable((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Any:
        if self._session is None:
            return (yield)
        try:
            yield
        except Exception:
            # Where tests are run for another process, this does not count, but that one misses the report.
            self._session.testsfailed += 1
            self._say(f"ERROR while {report.nodeid} was reported:\n{traceback.format_exc()}")
        if report.failed and not self._is_for_another:
            self._say(_line(report))
        heard = ("setup", "call") if report.when == "setup" and not report.passed else (report.when,)
        self._unheard -= {(report.nodeid, when) for when in heard}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self._has_begun:  # All processes collect the same, and so does one that comes in the place of another.
            self._has_begun, self._unheard = True, {(test, when) for test in ids for when in WHEN}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK and self._unheard:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            for test, when in sorted(self._unheard):
                self._say(f"ERROR: nothing was heard of the {when} of {test}")

    @property
    def _is_for_another(self) -> bool:
        return hasattr(self._config, "workerinput")

    def _say(self, text: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or self._is_for_another:
            print(text, file=sys.stderr)
        else:
            _write(terminal, text)


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


def _plain(
    item: pytest.Item, call: pytest.CallInfo[None], error: pytest.ExceptionInfo[BaseException]
) -> pytest.TestReport:
    """Return a report of an exception that cannot be shown: the lines that it came through, and the name of its class.

    :param error: what the test has raised, or if it has passed, what a hook has.
    """
    came_from = [line for line in traceback.format_tb(error.tb) if "/_pytest/" not in line and "/pluggy/" not in line]
    text = f"{type.__repr__(error.type)} cannot be shown; it came from\n{''.join(came_from)}"
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
        case None | bool():
            return value
        case int():  # a member of an enumeration, too
            return int(value)
        case float():
            return float(value)
        case bytes():
            return bytes(value)
    return object.__repr__(value)
