"""Log lines: nothing that a task raises, or that somebody has named, makes a line of its own or drives a terminal."""

import io
import logging
import uuid
from datetime import UTC, datetime

import pytest

from autotask.companion import guard
from autotask.management.console import Console
from autotask.signals import tell_lost, tell_missed
from autotask.task import ClaimedTask, State
from autotask.task_log import log_end
from autotask.texts import loggers

FORGED = "x\nautotask[1] INFO forged\r\x1b[31m\x1b]0;title\x07\u2028autotask[1] INFO forged\x85autotask[1] INFO forged\u202e\x9b1m"


NOW = datetime(2026, 7, 1, tzinfo=UTC)


class Unreadable(Exception):
    def __str__(self):
        raise SystemExit


@pytest.fixture(params=loggers.LOGGERS)
def written(request):
    """The output of a plain handler for a logger of autotask."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("autotask[%(process)d] %(levelname)s %(message)s"))
    logger = logging.getLogger(request.param)
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


def lines(stream):
    """Return the lines, each of which begins with the head or is indented, and shows as it is."""
    found = stream.getvalue().split("\n")
    assert found.pop() == ""
    assert all(line.isprintable() for line in found)
    assert all(line.startswith("  ") for line in found[1:])
    return found


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(FORGED),
        ExceptionGroup(FORGED, [ValueError(FORGED)]),
        KeyError(FORGED),
        Unreadable(FORGED),
        SyntaxError(FORGED),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_traceback_is_indented_and_has_no_control_characters(written, error):
    logger, stream = written
    cause = raised(error)
    cause.add_note(FORGED)
    logger.error("it failed", exc_info=cause)
    first, *rest = lines(stream)
    assert first.endswith("ERROR it failed")
    assert "Traceback (most recent call last):" in "".join(rest)


def test_a_message_with_foreign_text_is_a_line_and_indented_ones(written):
    logger, stream = written
    logger.warning("Cannot %s: %s", "go on", FORGED)
    assert "forged" in lines(stream)[1]


def test_a_line_that_is_plain_stays_as_it_is_for_handlers_that_group_by_it(written, caplog):
    logger, _ = written
    with caplog.at_level(logging.WARNING):
        logger.warning("Cannot %s: %s", "go on", "x")
    assert caplog.records[-1].msg == "Cannot %s: %s"


def test_a_line_whose_arguments_do_not_fit_harms_nobody(written, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    written[0].warning("%d of %d", 1)


def test_lines_of_outcomes_deaths_and_schedules_cannot_be_forged():
    # Given
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("autotask.task", "autotask.worker")]
    for logger in loggers:
        logger.addHandler(handler)
    task = ClaimedTask(uuid.uuid4(), 1, FORGED, "default", 0, 1, 0, 0, 0, None, NOW, None, b"")

    # When
    try:
        log_end(task, State.ERROR, 1.0, FORGED, raised(ValueError(FORGED)))
        outcome = stream.getvalue()
        stream.truncate(stream.seek(0))
        tell_lost(uuid.uuid4(), FORGED, "default", FORGED, True)
        lost = stream.getvalue()
        stream.truncate(stream.seek(0))
        tell_missed(FORGED, NOW, NOW, FORGED, logging.WARNING)
        missed = stream.getvalue()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)

    # Then
    for text in (outcome, lost, missed):
        assert lines(io.StringIO(text))


def test_the_guard_and_a_worker_that_fails_before_it_can_log_write_no_line_of_others(capfd):
    guard.say("the worker failed:\n" + FORGED, 1)
    assert lines(io.StringIO(capfd.readouterr().err))


class Picky(logging.Filter):
    def filter(self, record):
        raise AttributeError("no request")


class Broken(logging.Handler):
    def emit(self, record):
        raise ConnectionError("nobody collects")


@pytest.mark.parametrize("handler", [Broken(), logging.StreamHandler(io.StringIO())], ids=["handler", "filter"])
def test_a_filter_or_handler_of_the_project_that_raises_does_not_reach_the_worker(handler, capfd):
    # Given
    logger = logging.getLogger("autotask.task")
    guarded = [logging.getLogger(name) for name in loggers.LOGGERS]
    if not isinstance(handler, Broken):
        handler.addFilter(Picky())
    logger.addHandler(handler)
    loggers.keep_going()
    loggers.keep_going()

    # When
    try:
        logger.error("a line")
    finally:
        logger.removeHandler(handler)
        for each in guarded:
            del each.handle

    # Then
    said = capfd.readouterr().err
    assert said.count("A filter or handler of LOGGING failed at a line of autotask: a line") == 1
    assert "no request" in said or "nobody collects" in said


def test_commands_cannot_drive_a_terminal():
    class Stream(io.StringIO):
        encoding = "utf-8"

    stream = Stream()
    Console(stream, stream).say(FORGED, "a\nb")
    assert all(line.isprintable() for line in stream.getvalue().split("\n"))
