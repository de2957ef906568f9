"""Log lines: nothing that a task raises, or that somebody has named, makes a line of its own or drives a terminal."""

import io
import json
import logging
import os
import pty
import queue
import re
import subprocess
import sys
import threading
import traceback
import uuid
from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from autotask import embedded
from autotask.companion import guard, supervisor
from autotask.management.console import Console
from autotask.processes import streams
from autotask.signals import tell_lost, tell_missed
from autotask.task import ClaimedTask, State
from autotask.task_log import log_end
from autotask.texts import loggers, tracebacks
from autotask.worker.pools.threads import ThreadPool

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


# --- what a line tells ------------------------------------------------------------------------------------------------


def claimed(**facts):
    return ClaimedTask(uuid.uuid4(), 1, "shop.tasks.pay", "default", 0, 1, 0, 0, 2, None, NOW, None, b"")._replace(
        **facts
    )


@pytest.mark.parametrize(
    ("state", "message", "next_in", "line"),
    [
        (State.RETRY, "ValueError: no", 2.0, "attempt 1 of 3 failed after 0.020 s, next in 2.0 s: ValueError: no"),
        (State.RETRY, "ValueError: no", 600.0, "attempt 1 of 3 failed after 0.020 s, next in 10 min: ValueError: no"),
        (State.ERROR, "ValueError: no", None, "attempt 1 of 3 failed after 0.020 s, no retry follows: ValueError: no"),
        (State.DONE, "", None, "attempt 1 of 3 done after 0.020 s"),
        (State.CANCELLED, "no need", None, "attempt 1 of 3 cancelled after 0.020 s: no need"),
        (State.SCHEDULED, "too early", 60.0, "attempt 1 of 3 released after 0.020 s, next in 1 min: too early"),
    ],
)
def test_the_line_of_an_attempt_tells_when_the_next_one_comes(caplog, state, message, next_in, line):
    task = claimed()
    with caplog.at_level(logging.DEBUG, "autotask.task"):
        log_end(task, state, 0.02, message, None, next_in)
    (record,) = caplog.records
    assert record.getMessage() == f"shop.tasks.pay {task.id}: {line}"
    assert (record.seconds, record.next_in, record.state) == (0.02, next_in, state.name.lower())


SHOW = """
import logging, os, sys
from autotask.worker import log_lines
log_lines.show_log_lines()
logging.getLogger("autotask.worker").info("hello")
logging.getLogger("autotask.task").debug("done")
print(logging.getLogger("autotask.task").isEnabledFor(logging.DEBUG))
"""


def shown(where, **variables):
    """Return what a process of a worker writes to its standard error, and to its standard output."""
    with open(where, "wb") as error:
        told = os.fstat(error.fileno())
        variables = {name: value.format(told=told) for name, value in variables.items()}
        done = subprocess.run(
            [sys.executable, "-c", SHOW], stdout=subprocess.PIPE, stderr=error, env=os.environ | variables, timeout=60
        )
    return where.read_text(), done.stdout.decode().strip()


def test_lines_have_a_time_unless_the_reader_adds_it(tmp_path):
    pattern = r"autotask\[\d+\] INFO hello\n"
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} {pattern}", shown(tmp_path / "file")[0])
    assert re.fullmatch(pattern, shown(tmp_path / "journal", JOURNAL_STREAM="{told.st_dev}:{told.st_ino}")[0])
    terminal, other = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", SHOW], stdout=subprocess.DEVNULL, stderr=other, timeout=60, check=True)
        assert re.fullmatch(pattern, os.read(terminal, 1000).decode().replace("\r", ""))
    finally:
        os.close(terminal)
        os.close(other)


def test_a_verbose_worker_logs_what_is_done(tmp_path):
    text, enabled = shown(tmp_path / "file", AUTOTASK_VERBOSE="1")
    assert enabled == "True" and "DEBUG done" in text


@pytest.mark.parametrize("serious", [False, True])
def test_the_guard_writes_json_where_the_site_does(monkeypatch, capfd, serious):
    monkeypatch.setenv(streams.JSON_LINES, "1")
    guard.say("the worker failed:\n" + FORGED, 7, serious=serious)
    (line,) = capfd.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["message"] == "guard of 7: the worker failed:\n" + FORGED
    assert (told["name"], told["levelname"], told["process"]) == (
        "autotask.companion.guard",
        "ERROR" if serious else "WARNING",
        os.getpid(),
    )


class AsJson(logging.Formatter):
    def format(self, record):
        return json.dumps({"message": record.getMessage()})


@pytest.mark.parametrize(
    ("formatter", "is_json"), [(AsJson(), True), (logging.Formatter("[%(name)s]"), False), (None, False)]
)
def test_the_guard_is_told_how_the_site_writes(formatter, is_json, tmp_path):
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    try:
        assert supervisor._logs_json() is is_json
    finally:
        logging.getLogger().removeHandler(handler)


# --- tracebacks -------------------------------------------------------------------------------------------------------


def fail_inside(call):
    """Call as a worker does: with frames of autotask above the code of the project."""
    try:
        async_to_sync(sync_to_async(call))()
    except ValueError as error:
        return error


def project():
    try:
        raise KeyError("first")
    except KeyError as first:
        raise ValueError("second") from first


def names(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_a_traceback_begins_where_the_code_of_the_project_does():
    error = fail_inside(project)
    error.__traceback__ = error.__traceback__.tb_next  # of the test
    assert names(error)[0] != "project"
    tracebacks.cut(error)
    assert names(error) == names(error.__cause__) == ["project"]
    tracebacks.cut(error)
    assert names(error) == ["project"]


def test_the_lines_of_a_thread_begin_where_the_code_of_the_project_does():
    here, done = queue.Queue(), threading.Event()

    def wait_in_project():
        here.put(threading.get_ident())
        done.wait()

    pool = ThreadPool(1, lambda item, place: item(), lambda: None)
    pool.submit(wait_in_project)
    lines = tracebacks.lines_of(here.get(timeout=20))
    done.set()
    assert pool.drain(20)
    pool.close()
    assert lines.splitlines()[0].endswith("in <lambda>")
    assert "in wait_in_project" in lines
    assert tracebacks.lines_of(None) == tracebacks.lines_of(-1) == ""


def test_a_fault_of_autotask_keeps_its_frames():
    with pytest.raises(TypeError, match="nonsense") as caught:
        embedded.database("x", nonsense=1)
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next
    before = names(error)
    tracebacks.cut(error)
    assert names(error) == before != []


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (NOW, "the tick of 2026-07-01 00:00:00+00:00 was missed: late"),
        (
            NOW.replace(hour=2),
            "the ticks from 2026-07-01 00:00:00+00:00 to 2026-07-01 02:00:00+00:00 were missed: late",
        ),
    ],
    ids=["one", "several"],
)
def test_missed_ticks_are_named_by_their_moments(caplog, settings, last, words):
    settings.TIME_ZONE = "UTC"
    tell_missed("shop.nightly", NOW, last, "late", logging.WARNING)
    assert [record.getMessage() for record in caplog.records] == [f"schedule shop.nightly: {words}"]
