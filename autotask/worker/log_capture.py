"""The log lines of tasks, captured in one place while their attempts run, for a file for each task and for the database.

All lines pass :class:`Capture`, which finds their attempt: those of the loggers below ``autotask.task`` go to its file, those
of all loggers to the book that stores them. If neither is asked for, nothing is captured, and an attempt pays one look at a
variable for that.
"""

import importlib
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from autotask import context, logs, registry
from autotask.conf import settings
from autotask.definition import Definition
from autotask.signals import task_lost
from autotask.task import ClaimedTask, State
from autotask.task_log import LOGGER, PREFIX, level_of, text_of_end
from autotask.texts.lines import INDENT, indented, one_line
from autotask.worker import console, light_records, short_way
from autotask.worker.log_writer import LogFolder, LogWriter, complain

_formatter = logging.Formatter()

#: Returns the context of the task that runs here, if it is given None.
_running = context.running.get


class OpenLog:
    """The log of one attempt that runs in this process."""

    __slots__ = ("_label", "_where", "_writer", "fence", "names")

    def __init__(self, folder: LogFolder, task: ClaimedTask, definition: Definition[Any, Any] | None) -> None:
        key = None if definition is None else definition.log_key(task)
        self.fence = task.fence
        #: The names after ``autotask.task.`` of the loggers that belong to it.
        self.names = (str(task.id),) if key is None else (str(task.id), key)
        self._label = one_line(self.names[-1], 200)
        self._where = _where(definition)
        self._writer = LogWriter(folder, task.id, key)

    def write(self, record: logging.LogRecord) -> None:
        """Write a line. Never raises, unless the arguments of the line do."""
        self._writer.write(_line(record, self._label))

    def say(self, level: int, message: str, exception: BaseException | None = None) -> None:
        """Write a line of ours."""
        told = None if exception is None else (type(exception), exception, exception.__traceback__)
        self.write(logging.LogRecord(LOGGER, level, *self._where, message, None, told))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Book(Protocol):
    """Takes lines for the database.

    :ivar level: the lowest level.
    """

    level: int

    def take(self, running: context.TaskContext, record: logging.LogRecord) -> None:
        """Take a line of the attempt that runs where it was logged."""

    def say(self, running: context.TaskContext, created: float, level: int, logger: str, message: str) -> None:
        """Take a line of that attempt which has no record: neither exception nor stack nor further fields."""

    def take_stray(self, attempt: tuple[uuid.UUID, int], record: logging.LogRecord) -> None:
        """Take a line of an attempt, a task and its number, that was logged elsewhere."""


class Capture(logging.Handler):
    """Takes the lines of tasks to the logs of their attempts."""

    # Without the lock of all handlers: tasks do not wait for each other.
    def handle(self, record: logging.LogRecord) -> bool:
        """Write a line of a task that runs here; outcomes are written by :func:`end`."""
        try:
            if record.name == LOGGER:
                return True
            if _folder is not None and (log := _log_of(record)) is not None:
                log.write(record)
            _keep(record)
        except Exception:
            self.handleError(record)
        return True


class CaptureOthers(logging.Handler):
    """Takes the lines of all other loggers, which are for the database only. Tasks wait for each of them.

    :param book: takes them.
    """

    def __init__(self, book: Book) -> None:
        super().__init__(book.level)
        self._take, self._say = book.take, book.say
        self._known: set[str] = set()

    # Without the lock of all handlers: tasks do not wait for each other.
    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a line; those of tasks have passed :class:`Capture`, even where they do not propagate to here."""
        try:
            if (name := record.name).startswith(LOGGER) and f"{name}.".startswith(PREFIX):
                return True
            if (running := _running(None)) is not None and running.fence is not None:
                self._take(running, record)
                if type(record) is light_records.LightRecord and name not in self._known:
                    self._known.add(name)
                    short_way.give(name, record.levelno, self._say)
        except Exception:
            self.handleError(record)
        return True


#: Whether there are log files: looked at for each task, so that a call is saved where there are none.
is_on = False

_folder: LogFolder | None = None
_book: Book | None = None
_started_in = 0
_open: dict[str, OpenLog] = {}
_capture = Capture()
_others: CaptureOthers | None = None


def start(book: Book | None = None) -> None:
    """Capture from now on as the settings say. A process that runs tasks calls this once Django is set up.

    :param book: takes the lines for the database, if there is one in this process.
    """
    global is_on, _folder, _started_in
    _started_in = os.getpid()
    is_on = (where := logs.folder()) is not None
    logger = logging.getLogger(LOGGER)
    console.show_lines_of_tasks(settings.LOG_CONSOLE and not os.environ.get("DISABLE_STREAM_HANDLER"))
    _attach(logger, _capture, is_on or book is not None)
    _use(book)
    if is_on or book is not None:
        _hear_infos(logger)
    if where is None:
        _folder = None
        task_lost.disconnect(dispatch_uid=LOGGER)
        return
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        complain(where, error)
    _folder = LogFolder(where, settings.LOG_SIZE, settings.LOG_BACKUPS)
    task_lost.connect(_lost, dispatch_uid=LOGGER)


def _use(book: Book | None) -> None:
    global _book, _others
    short_way.take_back()
    if _others is not None:
        logging.getLogger().removeHandler(_others)
    _book, _others = book, None if book is None else CaptureOthers(book)
    if _others is not None:
        logging.getLogger().addHandler(_others)
    # Files show the place of each line of the loggers of tasks.
    light_records.use(() if _others is None else (_others,) if is_on else (_others, _capture))


def _attach(logger: logging.Logger, handler: logging.Handler, wanted: bool) -> None:
    (logger.addHandler if wanted else logger.removeHandler)(handler)  # which does nothing the second time


def _hear_infos(logger: logging.Logger) -> None:
    if not (logger.level or logging.getLogger("autotask").level) and logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)


def forwarder(send: Callable[[Any], None]) -> Book | None:
    """Return the book of a child process, which sends all lines to its worker; None: nothing is kept in the database."""
    if settings.LOGS is None:
        return None
    module = importlib.import_module("autotask.worker.log_book")
    return module.Forwarder(settings.LOGS, send)  # type: ignore[no-any-return]  # imported only where it is used


def start_once() -> None:
    """Capture from now on, unless this process does so already, for executors, where nobody knows which job is the first."""
    if _started_in != os.getpid():
        start()


def folder() -> Path | None:
    """Return the folder of the files that this process writes; None: it writes none."""
    return None if _folder is None else _folder.path


def begin(task: ClaimedTask, definition: Definition[Any, Any]) -> None:
    """Open the log of an attempt."""
    if _folder is None:
        return
    log = OpenLog(_folder, task, definition)
    for name in log.names:
        _open[name] = log
    log.say(logging.INFO, f"started: {task.name}, attempt {task.failures + 1} of {task.retries + 1}")


def end(
    task: ClaimedTask,
    state: State,
    seconds: float,
    error_message: str,
    exception: BaseException | None,
    next_in: float | None,
) -> None:
    """Write the last line of an attempt, and close its log. The attempt may have run in a process that was killed."""
    if _folder is None:
        return
    log = _own(task) or OpenLog(_folder, task, registry.known(task.name))
    told = exception if state in (State.ERROR, State.RETRY) else None
    # The traceback ends with the message.
    message = text_of_end(task, state, seconds, "" if told is not None else error_message, next_in)
    log.say(max(logging.INFO, level_of(state, exception)), message, told)
    _close(log)


def close(task: ClaimedTask) -> None:
    """Close the log of an attempt that is over in any way."""
    if _folder is not None and (log := _own(task)) is not None:
        _close(log)


def _close(log: OpenLog) -> None:
    for name in log.names:
        if _open.get(name) is log:
            _open.pop(name, None)
    log.close()


def _own(task: ClaimedTask) -> OpenLog | None:
    """Return the log of this attempt: an earlier one of the same task may continue in a thread that was given up."""
    log = _open.get(str(task.id))
    return log if log is not None and log.fence == task.fence else None


def _lost(task_id: uuid.UUID, reason: str, ended: bool, **_: Any) -> None:
    """Write the last line of an attempt whose worker or process died, if its log is on this host."""
    if _folder is None or not (_folder.path / f"{task_id}.log").exists():
        return
    what = f"lost: {one_line(reason)}; {'it will not run again' if ended else 'it will run again'}"
    record = logging.LogRecord(LOGGER, logging.ERROR if ended else logging.WARNING, *_where(None), what, None, None)
    writer = LogWriter(_folder, task_id)
    writer.write(_line(record, str(task_id)))
    writer.close()


def _log_of(record: logging.LogRecord) -> OpenLog | None:
    """Return the log of the attempt to which a line belongs: by its logger, its field, or where it was logged."""
    name = record.name.removeprefix(PREFIX)
    log = _open.get(name) or _open.get(name[:36]) or _open.get(getattr(record, "task_id", ""))
    if log is None and (running := context.current()) is not None:
        log = _open.get(str(running.id))
    return log


def _keep(record: logging.LogRecord) -> None:
    """Give a line to the book, if it belongs to an attempt: that which runs where it was logged, or the one in its fields."""
    if (book := _book) is None or record.levelno < book.level:
        return
    if (running := _running(None)) is not None and running.fence is not None:
        book.take(running, record)
        return
    id, attempt = getattr(record, "task_id", None), getattr(record, "attempt", None)
    if isinstance(id, str) and isinstance(attempt, int) and record.name.startswith(PREFIX):
        book.take_stray((uuid.UUID(id), attempt), record)


def _line(record: logging.LogRecord, label: str) -> str:
    """Return a line as it is in the file. No message can forge another line."""
    message = record.getMessage()
    if (name := getattr(record, "task_name", None)) is not None:
        message = message.removeprefix(f"{name} {getattr(record, 'task_id', '')}: ")  # The file says so.
    if record.exc_info and record.exc_info[0] is not None:
        message += f"\n{_traceback(record)}"
    if record.stack_info:
        message += f"\n{record.stack_info}"
    if not message.isprintable():
        message = indented(message)
    time = _formatter.formatTime(record)
    where = f"{record.module}:{record.lineno}"
    return f"[{record.process}] {time} | {record.levelname} | {label} | {where} - {message}"


def _traceback(record: logging.LogRecord) -> str:
    try:
        return _formatter.formatException(record.exc_info)  # type: ignore[arg-type]  # looked at by the caller
    except Exception as error:  # The causes of an exception, or the name of its class, may raise.
        return f"{INDENT}(its traceback cannot be shown: {type(error).__name__})"


def _where(definition: Definition[Any, Any] | None) -> tuple[str, int]:
    """Return file and line of a task function, for our own lines."""
    code = None if definition is None else getattr(definition.function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("autotask", 0)
