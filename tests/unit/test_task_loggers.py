"""Loggers of tasks: ``logging`` does not keep them for ever, and their lines can be kept off the console."""

import gc
import logging
import uuid

import psutil
import pytest

from autotask.context import TaskContext
from autotask.task_log import logger_of
from autotask.worker import log_capture, spare_loggers

PREFIX = "autotask.task."


@pytest.fixture
def loggers():
    """The loggers that ``logging`` keeps."""
    known = logging.Logger.manager.loggerDict
    before = set(known)
    yield known
    for name in set(known) - before:
        del known[name]
    spare_loggers._forget()


def test_loggers_by_ids_are_forgotten_before_they_are_many(loggers):
    before, memory, most = len(loggers), psutil.Process().memory_info().rss, 0
    for _ in range(10_000):
        id = uuid.uuid4()
        logging.getLogger(f"{PREFIX}{id}").debug("a line")
        logging.getLogger(f"{PREFIX}{id}.part").debug("a line")
        TaskContext(id, "shop.tasks.send").logger.debug("a line")
        logger_of(str(id)).debug("a line")
        spare_loggers.forget()
        most = max(most, len(loggers))
    assert most <= before + 2 * spare_loggers.SPARE + 3
    gc.collect()
    assert psutil.Process().memory_info().rss < memory + 20 * 2**20


def test_a_logger_that_somebody_has_changed_is_kept_and_so_are_those_of_others(loggers):
    # Given
    changed = [logging.getLogger(f"{PREFIX}{uuid.uuid4()}") for _ in range(5)]
    changed[0].addHandler(logging.NullHandler())
    changed[1].addFilter(lambda record: True)
    changed[2].setLevel(logging.DEBUG)
    changed[3].propagate = False
    changed[4].disabled = True
    others = [logging.getLogger(name) for name in (f"{PREFIX}shop.tasks.send", "shop", str(uuid.uuid4()))]
    plain = logging.getLogger(f"{PREFIX}{uuid.uuid4()}")

    # When
    spare_loggers._forget()

    # Then
    assert all(loggers.get(logger.name) is logger for logger in (*changed, *others))
    assert plain.name not in loggers
    again = logging.getLogger(plain.name)
    assert (again.parent, again.level, again.propagate) == (plain.parent, plain.level, plain.propagate)


def test_a_logger_by_a_key_passes_its_lines_on_and_is_not_kept(loggers, caplog):
    caplog.set_level(logging.INFO, "autotask.task")
    logger = logger_of("Oslo/2026-11-28")
    logger.info("start of %s", "the task")
    [record] = caplog.records
    assert (record.name, record.getMessage()) == ("autotask.task.Oslo/2026-11-28", "start of the task")
    assert record.module == "test_task_loggers"
    assert logger.name not in loggers


@pytest.fixture
def console():
    """A handler that writes to file 2, as one of LOGGING that writes to stderr, and what it has written."""
    written = []

    class Handler(logging.StreamHandler):
        def emit(self, record):
            written.append(record.getMessage())

    class Stream:
        def fileno(self):
            return 2

    handler = Handler(Stream())
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize(
    ("setting", "variable", "shown"),
    [
        (True, None, True),
        (True, "", True),
        (True, "0", False),
        (True, "1", False),
        (False, None, False),
        (False, "", False),
    ],
)
def test_lines_of_tasks_are_on_the_console_unless_a_setting_or_a_variable_keeps_them_off(
    console, settings, monkeypatch, caplog, setting, variable, shown
):
    # Given
    settings.AUTOTASK_LOG_CONSOLE = setting
    monkeypatch.delenv("DISABLE_STREAM_HANDLER", raising=False)
    if variable is not None:
        monkeypatch.setenv("DISABLE_STREAM_HANDLER", variable)

    # When
    log_capture.start()
    logging.getLogger("autotask.task.shop.tasks.send").warning("of a task")
    logging.getLogger("autotask.task").warning("an outcome")
    logging.getLogger("shop").warning("of the site")

    # Then
    assert console == [*(["of a task"] if shown else []), "an outcome", "of the site"]
    assert "of a task" in caplog.text  # Other handlers get it.
