"""Lines that only autotask keeps need no record; whoever else listens gets a whole one."""

import copy
import logging
import pickle
import uuid

import pytest

from autotask import context
from autotask.worker import light_records, log_capture, short_way


class Keeping(logging.Handler):
    """Keeps records, as a handler of the site."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Book:
    """Keeps lines, and how they came."""

    level = logging.INFO

    def __init__(self) -> None:
        self.short: list[tuple[int, str, str]] = []
        self.long: list[logging.LogRecord] = []

    def take(self, running, record) -> None:
        record.getMessage()  # as the book does
        self.long.append(record)

    def say(self, running, created, level, logger, message) -> None:
        self.short.append((level, logger, message))


@pytest.fixture
def book():
    """A book that takes the lines of a task that runs here, and hears them alone."""
    parent, book = logging.getLogger("short"), Book()
    parent.propagate = False  # for those of pytest
    handler = log_capture.CaptureOthers(book)
    parent.addHandler(handler)
    light_records.use((handler,))
    running = context.running.set(context.TaskContext(uuid.uuid4(), "shop.tasks.ship", fence=7))
    yield book
    context.running.reset(running)
    short_way.take_back()
    light_records.use(())
    for name in [name for name in logging.Logger.manager.loggerDict if name.startswith("short")]:
        del logging.Logger.manager.loggerDict[name]


@pytest.fixture
def logger(book):
    """A logger that has the short way."""
    logger = logging.getLogger("short.stock")
    logger.setLevel(logging.DEBUG)
    logger.info("the first line")
    assert "_log" in vars(logger) and len(book.long) == 1
    return logger


def leave_out_pytest() -> None:
    """Remove the handlers that pytest adds when a test begins, also to loggers that pass nothing on."""
    parent = logging.getLogger("short")
    parent.handlers = [each for each in parent.handlers if isinstance(each, log_capture.CaptureOthers)]


def test_further_lines_need_no_record_and_say_the_same(book, logger):
    leave_out_pytest()
    for arguments in (("%d of %s", 1, "two"), ("%(a)s", {"a": 1}), ("%s", {}), ("plain",), (5,), ("100 %",)):
        logger.warning(*arguments)
        expected = logging.LogRecord("x", 0, "", 0, arguments[0], arguments[1:], None).getMessage()
        assert book.short[-1] == (logging.WARNING, "short.stock", expected)
    assert len(book.long) == 1


def test_lines_of_no_task_and_those_below_the_level_are_not_kept(book, logger):
    leave_out_pytest()
    logger.debug("too detailed")
    context.running.get()
    reset = context.running.set(None)
    logger.info("of no task")
    context.running.reset(reset)
    assert not book.short and len(book.long) == 1


@pytest.mark.parametrize("options", [{"exc_info": True}, {"stack_info": True}, {"extra": {"order": 7}}])
def test_a_line_with_more_than_a_message_goes_the_usual_way_and_names_its_place(book, logger, options):
    leave_out_pytest()
    logger.info("more", **options)
    assert not book.short
    record = book.long[-1]
    assert (record.pathname, record.funcName) == (
        __file__,
        "test_a_line_with_more_than_a_message_goes_the_usual_way_and_names_its_place",
    )


def test_a_handler_of_the_site_gets_whole_records_with_their_place(book, logger):
    leave_out_pytest()
    # Given
    other = Keeping(logging.WARNING)
    logging.getLogger("short").addHandler(other)

    def helper() -> None:
        logger.warning("as from my caller", stacklevel=2)

    # When
    logger.info("not for the other")
    logger.warning("for both")
    helper()

    # Then
    assert [message for _, _, message in book.short] == ["not for the other"]
    assert book.long[1:] == other.records
    assert [record.threadName for record in other.records] == ["MainThread", "MainThread"]
    here = test_a_handler_of_the_site_gets_whole_records_with_their_place.__name__
    assert [record.funcName for record in other.records] == [here, here]
    assert other.records[1].lineno - other.records[0].lineno == 1


def test_a_logger_that_no_longer_passes_its_lines_on_says_nothing(book, logger):
    leave_out_pytest()
    logger.propagate = False
    logger.addHandler(other := Keeping())
    logger.info("kept elsewhere")
    assert not book.short and [record.getMessage() for record in other.records] == ["kept elsewhere"]


@pytest.mark.parametrize("name", ["_log", "makeRecord", "handle", "callHandlers", "findCaller"])
@pytest.mark.parametrize("place", ["class", "logger"])
def test_who_replaces_a_method_sees_each_line(book, logger, monkeypatch, name, place):
    leave_out_pytest()
    # Given
    seen, usual = [], getattr(logging.Logger, name)

    def spy(*arguments, **options):
        seen.append(arguments)
        return usual(*arguments, **options) if place == "class" else usual(logger, *arguments, **options)

    # When
    monkeypatch.setattr(logging.Logger if place == "class" else logger, name, spy)
    logger.info("seen")

    # Then
    assert len(seen) == 1 and not book.short and book.long[-1].getMessage() == "seen"


def test_filters_and_factories_of_the_site_see_each_line(book, logger):
    leave_out_pytest()
    logger.addFilter(hide := lambda record: "secret" not in record.getMessage())
    logger.info("secret")
    logger.removeFilter(hide)
    before, made = logging.getLogRecordFactory(), []
    logging.setLogRecordFactory(lambda *given, **more: made.append(before(*given, **more)) or made[-1])
    try:
        logger.info("made elsewhere")
    finally:
        logging.setLogRecordFactory(before)
    assert not book.short and [record.getMessage() for record in book.long[1:]] == ["made elsewhere"]
    assert len(made) == 1


def test_a_line_whose_arguments_do_not_fit_is_reported_as_ever(book, logger, capsys):
    leave_out_pytest()
    logger.info("%d apples", "no")
    said = capsys.readouterr().err
    assert "--- Logging error ---" in said and "%d apples" in said
    assert not book.short and len(book.long) == 1


def test_loggers_of_other_classes_and_with_methods_of_their_own_do_not_get_it(book):
    leave_out_pytest()

    class Other(logging.Logger):
        pass

    logging.Logger.manager.loggerDict["short.other"] = other = Other("short.other")
    other.parent, other.level = logging.getLogger("short"), logging.INFO
    changed = logging.getLogger("short.changed")
    changed.setLevel(logging.INFO)
    changed.makeRecord = changed.makeRecord
    for logger in (other, changed):
        logger.info("one")
        logger.info("two")
        assert "_log" not in vars(logger)
    assert len(book.long) == 4 and not book.short


def test_nothing_stays_when_lines_are_no_longer_kept(book, logger):
    leave_out_pytest()
    assert copy.deepcopy(logger) is pickle.loads(pickle.dumps(logger)) is logger
    short_way.take_back()
    assert vars(logger).keys() == vars(logging.getLogger("short.new")).keys()
    logger.info("a whole way")
    assert not book.short and len(book.long) == 2
