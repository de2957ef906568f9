"""Records that only autotask sees lack what only others would show; all others are whole."""

import logging

import pytest

from autotask.worker import light_records
from autotask.worker.light_records import LightRecord


class Keeping(logging.Handler):
    """Keeps records."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def logger():
    """A logger of which only one handler hears, which is content with light records."""
    parent = logging.getLogger("light")
    parent.propagate = False  # for those of pytest
    parent.setLevel(logging.DEBUG)
    ours = Keeping()
    parent.addHandler(ours)
    light_records.use((ours,))
    yield logging.getLogger("light.stock")
    light_records.use(())
    parent.handlers.clear()
    parent.propagate = True


def said(logger: logging.Logger, *arguments: object, level: int = logging.INFO, **options: object) -> logging.LogRecord:
    parent = logging.getLogger("light")
    parent.handlers = [
        handler for handler in parent.handlers if isinstance(handler, Keeping)
    ]  # pytest has added others
    ours = parent.handlers[0]
    logger.log(level, *arguments, **options)
    return ours.records[-1]


def test_a_record_that_nobody_else_sees_is_light_and_says_the_same(logger):
    try:
        raise LookupError("as asked")
    except LookupError as error:
        told = error
    for arguments in (("%d of %s", 1, "two"), ("%(a)s", {"a": 1}), ("%s", {}), ("plain",), (5,)):
        found = said(logger, *arguments, exc_info=told, stack_info=True, extra={"order": 7})
        light_records.use(())
        whole = said(logger, *arguments, exc_info=told, stack_info=True, extra={"order": 7})
        light_records.use((logging.getLogger("light").handlers[0],))
        assert (type(found), type(whole)) == (LightRecord, logging.LogRecord)
        assert found.getMessage() == whole.getMessage()
        for name in ("name", "levelname", "levelno", "msg", "args", "exc_info", "pathname", "funcName", "order"):
            assert getattr(found, name) == getattr(whole, name), name
        assert abs(found.created - whole.created) < 60
        assert vars(found).keys() == vars(whole).keys() - {"taskName"}  # which Python 3.11 lacks


def test_fields_of_records_cannot_be_overwritten(logger):
    for name in ("threadName", "process", "module", "message"):
        with pytest.raises(KeyError, match="Attempt to overwrite"):
            said(logger, "x", extra={name: 1})


@pytest.mark.parametrize("place", ["light", "light.stock"])
def test_a_record_that_another_handler_gets_is_whole(logger, place):
    other = Keeping(logging.WARNING)
    logging.getLogger(place).addHandler(other)
    try:
        assert type(said(logger, "not for the other")) is LightRecord
        found = said(logger, "for both", level=logging.WARNING)
    finally:
        logging.getLogger(place).removeHandler(other)
    assert type(found) is logging.LogRecord and other.records == [found]
    assert found.threadName == "MainThread" and found.process


def test_a_record_that_passes_a_filter_is_whole(logger):
    logger.addFilter(lambda record: record.threadName == "MainThread")
    try:
        assert type(said(logger, "x")) is logging.LogRecord
    finally:
        logger.filters.clear()


def test_a_record_that_another_library_sees_on_its_way_is_whole(logger, monkeypatch):
    seen, call = [], logging.Logger.callHandlers

    def spy(self: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record)
        call(self, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", spy)
    assert type(said(logger, "x")) is logging.LogRecord
    assert seen[-1].threadName == "MainThread"


def test_a_logger_of_another_class_has_whole_records(logger):
    class Other(logging.Logger):
        pass

    other = Other("light.other")
    logging.Logger.manager.loggerDict["light.other"] = other
    other.parent = logging.getLogger("light")
    try:
        assert type(said(other, "x")) is logging.LogRecord
    finally:
        del logging.Logger.manager.loggerDict["light.other"]


def test_a_project_may_make_its_own_records():
    class Own(logging.LogRecord):
        pass

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Own)
    try:
        light_records.use((Keeping(),))
        assert logging.getLogRecordFactory() is Own
    finally:
        light_records.use(())
        logging.setLogRecordFactory(before)


def test_a_project_that_adds_to_the_records_of_others_gets_whole_ones(logger):
    before = logging.getLogRecordFactory()

    def longer(*arguments, **options):
        record = before(*arguments, **options)
        record.short_thread = record.threadName[:4]
        return record

    logging.setLogRecordFactory(longer)
    try:
        assert said(logger, "x").short_thread == "Main"
    finally:
        logging.setLogRecordFactory(before)


def test_nothing_stays_when_lines_are_no_longer_kept():
    before = logging.getLogRecordFactory()
    light_records.use((Keeping(),))
    light_records.use(())
    assert logging.getLogRecordFactory() is before
