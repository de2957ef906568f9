"""The lines that tasks log, kept in the database."""

import asyncio
import contextvars
import logging
import os
import signal
import sys
import threading
import time
import tracemalloc
import uuid
from collections import deque

import pytest
from django.db import DatabaseError, transaction

from autotask.context import enter
from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.handle import TaskHandle
from autotask.setting_types import LogOptions
from autotask.store import read, task_logs
from autotask.store.connection import current, execute, rows
from autotask.task import RUNNING, new_ids
from autotask.tasks import Retry, TaskContext, delayed_task
from autotask.texts.masks import LONGEST_TEXT
from autotask.worker import log_book as module, log_capture, log_pieces
from autotask.worker.log_book import Line, LogBook
from autotask.worker.log_text import Texts
from tests.gates import gate, wait_at
from tests.helpers import ended, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

shop = logging.getLogger("shop.stock")


@pytest.fixture(autouse=True)
def kept(settings):
    """Keep lines, and leave logging as it was."""
    settings.AUTOTASK_LOGS = {}
    levels = {name: logging.getLogger(name).level for name in ("shop", "autotask.task")}
    logging.getLogger("shop").setLevel(logging.DEBUG)
    yield
    settings.AUTOTASK_LOGS = None
    log_capture.start()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@delayed_task(takes_context=True, retries=1, backoff=0)
def chatter(context: TaskContext, lines: int, how: str = "well") -> None:
    context.logger.info("begins: %d lines", lines)
    for number in range(lines):
        shop.info("line %d", number)
    shop.debug("too quiet")
    if how == "wait":
        wait_at("chatter")
    if how == "thread":
        speaking = threading.Thread(target=context.logger.warning, args=("from another thread",))
        speaking.start()
        speaking.join()
    if how == "retry" and context.attempt == 1:
        raise Retry(delay=0)


@delayed_task
async def chat(word: str) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
        shop.info("said %s", word)


@delayed_task(executor="process", takes_context=True)
def far_away(context: TaskContext, path: str) -> None:
    shop.warning("from process %d", os.getpid())
    context.logger.info("%d", os.getpid())
    while not os.path.exists(path):
        time.sleep(0.01)


@delayed_task(executor="process", retries=0)
def forks() -> str:
    """Log long lines at the same time as a process that it has forked."""
    forked = os.fork()
    for _ in range(300):
        shop.warning("x" * 9_000)
    if not forked:
        os._exit(0)
    os.waitpid(forked, 0)
    return "well"


@delayed_task
def careless() -> None:
    shop.info("password=hunter2 and\nFATAL | forged \0 line")
    try:
        raise LookupError("token: hunter2")
    except LookupError:
        shop.exception("failed")


def stored() -> int:
    """Return the characters of all lines in the database, without those of marks."""
    [(size,)] = rows(
        current(), "SELECT sum(length(regexp_replace(text, E'[\\x01\\x02][^\\n]*\\n', '', 'g'))) FROM autotask_log"
    )
    return size


def messages(handle, attempt=None):
    return [line.partition(" - ")[2] for line in handle.logs(attempt).splitlines()]


def test_lines_of_all_loggers_are_kept_with_their_attempt(worker):
    # When
    handle = chatter(2)
    # Then
    wait_until(lambda: len(messages(handle)) == 3, what="the lines of the task")
    assert messages(handle) == ["begins: 2 lines", "line 0", "line 1"]
    [first, second, _] = handle.logs().splitlines()
    assert f" | 1 | INFO | autotask.task.{chatter.name} - begins" in first
    assert second.endswith("Z | 1 | INFO | shop.stock - line 0")


def test_tasks_that_run_at_the_same_time_have_their_own_lines(worker):
    words = [f"word {number}" for number in range(20)]
    handles = [chat(word) for word in words]
    wait_until(lambda: all(len(messages(handle)) == 3 for handle in handles), what="all lines")
    assert [messages(handle) for handle in handles] == [[f"said {word}"] * 3 for word in words]


def test_each_attempt_has_its_lines(worker):
    handle = chatter(0, "retry")
    wait_until(lambda: len(messages(handle)) == 2, what="the lines of both attempts")
    assert messages(handle, 1) == messages(handle, 2) == ["begins: 0 lines"]
    assert messages(handle, 3) == []


@pytest.mark.parametrize(("attempt", "error"), [(0, InvalidOption), (-1, InvalidOption), ("1", InvalidOptionType)])
def test_the_lines_of_an_attempt_that_cannot_be_are_refused(attempt, error):
    with pytest.raises(error, match="'attempt'"):
        TaskHandle(uuid.uuid4()).logs(attempt)


def test_lines_are_there_while_the_task_runs(worker):
    handle = chatter(1, "wait")
    wait_until(lambda: len(messages(handle)) == 2, what="the lines of the running task")
    assert handle.status == RUNNING
    gate("chatter").set()


def test_a_thread_of_the_task_reaches_the_log_by_the_logger_of_the_context(worker):
    handle = chatter(0, "thread")
    wait_until(lambda: len(messages(handle)) == 2, what="the line of the other thread")
    assert messages(handle)[1] == "from another thread"


def test_a_process_that_a_task_forks_does_not_mix_its_lines_with_those_of_the_task(start_worker, monkeypatch):
    monkeypatch.setenv("AUTOTASK_LOGS", "{}")
    start_worker()
    assert forks().wait(30) == "well"


def test_the_lines_of_a_child_process_come_before_it_is_killed(start_worker, tmp_path, monkeypatch):
    # Given
    monkeypatch.setenv("AUTOTASK_LOGS", "{}")
    start_worker()
    handle = far_away(str(tmp_path / "go"))
    wait_until(lambda: len(messages(handle)) == 2, what="the lines of the child")
    # When
    os.kill(int(messages(handle)[1]), signal.SIGKILL)
    # Then: it runs again, in another child
    wait_until(lambda: len(messages(handle)) == 4, what="the lines of the second child")
    (tmp_path / "go").touch()
    assert ended(handle) == "done"
    assert len(messages(handle, 1)) == len(messages(handle, 2)) == 2


def test_secrets_are_masked_and_no_message_can_forge_a_line(worker):
    handle = careless()
    wait_until(lambda: "LookupError" in handle.logs(), what="the traceback")
    text = handle.logs()
    assert "hunter2" not in text and "password=•••" in text
    assert len([line for line in text.splitlines() if not line.startswith("  ")]) == 2


def test_a_line_that_is_longer_than_all_of_an_attempt_may_be_does_not_stay_in_memory():
    book = LogBook(LogOptions(max=1024), lambda: None)
    book.put(Line((uuid.uuid4(), 1), time.time(), "INFO", "shop", "x" * 5_000))
    book.run_once(current())
    assert not any(lines.take() for lines in book._elsewhere.values()) and not book._pieces.waiting


def test_the_last_lines_are_written_when_the_worker_stops(start_worker, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 1000.0)
    worker = start_worker()
    handle = chatter(1)
    assert ended(handle) == "done"
    worker.stop()
    wait_until(lambda: len(messages(handle)) == 2, what="the lines of the worker that has stopped")


def test_an_attempt_keeps_its_last_lines(transactional_db):
    # Given
    book, id = LogBook(LogOptions(max=2000), lambda: None), uuid.uuid4()
    # When
    for turn in range(30):
        for number in range(10):
            book.put(Line((id, 1), 0.0, "INFO", "shop", f"{turn}-{number}"))
        book.run_once(current())
        assert stored() <= 2000
    # Then: the first line says how many are missing
    first, *lines = task_logs.lines(current(), id).splitlines()
    assert first.endswith(f"Z | 1 | WARNING | autotask.task - {300 - len(lines)} earlier lines are not kept")
    assert lines[-1].endswith("29-9") and len(lines) > 25
    order = [line.rpartition(" ")[2] for line in lines]
    assert order == [f"{turn}-{number}" for turn in range(30) for number in range(10)][-len(order) :]


def test_lines_of_a_thread_and_of_its_attempt_are_in_the_order_in_which_they_were_logged(transactional_db):
    # Given
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    records = [logging.LogRecord("shop", logging.INFO, "", 0, str(number), None, None) for number in range(4)]
    for number, record in enumerate(records):
        record.created = float(number)
    # When
    for record in records[::2]:
        book.take(context, record)
    for record in records[1::2]:
        book.take_stray((context.id, context.attempt), record)
    book.run_once(current())
    # Then
    lines = task_logs.lines(current(), context.id).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["0", "1", "2", "3"]


def test_the_lines_of_an_attempt_that_cannot_be_stored_are_stored_later(transactional_db):
    # Given
    book, id = LogBook(LogOptions(), lambda: None), uuid.uuid4()
    book.put(Line((id, 1), 0.0, "INFO", "shop", "first"))
    with transaction.atomic(), pytest.raises(DatabaseError):
        execute(current(), "SET LOCAL transaction_read_only = on")
        book.run_once(current())
    # When
    book.put(Line((id, 1), 1.0, "INFO", "shop", "second"))
    book.run_once(current())
    # Then
    lines = task_logs.lines(current(), id).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["first", "second"]


def test_an_attempt_that_is_over_is_forgotten_with_its_last_line(transactional_db):
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    for _ in range(2):
        book.take(context, logging.LogRecord("shop", logging.INFO, "", 0, "said", None, None))
        book.close()
        book.run_once(current())
        assert list(book._here) == [context]
    context.close()
    book.run_once(current())
    assert not book._here and len(task_logs.lines(current(), context.id).splitlines()) == 2


def test_a_thread_that_goes_on_after_the_end_of_its_attempt_has_no_more_room_each_second(transactional_db):
    book, context = LogBook(LogOptions(max=2000), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    for _ in range(10):
        book.take(context, logging.LogRecord("shop", logging.INFO, "", 0, "x" * 1500, None, None))
        book.run_once(current())
    assert stored() <= 2000


@pytest.mark.parametrize("shown", [22, 29])
@pytest.mark.parametrize("before", ["x ", "x"], ids=["words", "one word"])
def test_no_secret_is_shown_that_the_end_of_a_long_line_cuts_off(transactional_db, shown, before):
    book, id = LogBook(LogOptions(), lambda: None), uuid.uuid4()
    message = f"{(before * LONGEST_TEXT)[: LONGEST_TEXT - shown - 1]},postgres://shop:hunter2hunter2@db/shop"
    book.put(Line((id, 1), 0.0, "INFO", "shop", message))
    book.run_once(current())
    said = task_logs.lines(current(), id)
    assert "hunter" not in said and said.endswith("…\n") and len(said) > 9000


def test_what_is_not_stored_of_a_long_line_does_not_stay_in_memory():
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    book.take(context, logging.LogRecord("shop", logging.INFO, "", 0, "x" * 1_000_000, None, None))
    assert len(book._said[0][-1]) <= LONGEST_TEXT + 1


def test_no_name_of_a_logger_can_forge_a_line(transactional_db):
    book, id = LogBook(LogOptions(), lambda: None), uuid.uuid4()
    book.put(Line((id, 1), 0.0, "INFO", "autotask.task.a\n1970-01-01 00:00:00.000Z | 1 | ERROR | b\x1b[2J", "said"))
    book.run_once(current())
    [line] = task_logs.lines(current(), id).splitlines()
    assert line.endswith(" - said") and "\x1b" not in line


def test_more_lines_in_a_second_than_an_attempt_may_have_leave_the_last(transactional_db):
    book, id = LogBook(LogOptions(max=2000), lambda: None), uuid.uuid4()
    for number in range(10_000):
        book.put(Line((id, 1), 0.0, "INFO", "shop", str(number)))
    book.put(Line((uuid.uuid4(), 1), 0.0, "INFO", "shop", "of another task"))
    book.run_once(current())
    assert task_logs.lines(current(), id).endswith(" 9999\n")
    assert rows(current(), "SELECT count(DISTINCT first_id) FROM autotask_log") == [(2,)]


def test_lines_are_deleted_when_they_are_too_old(transactional_db):
    # Given
    ids = [uuid.uuid4(), uuid.uuid4()]
    task_logs.write(current(), [task_logs.alone(id, 1, "x\n") for id in ids])
    execute(current(), f"UPDATE autotask_log SET at = at - interval '2 minutes' WHERE first_id = '{ids[0]}'")
    # When
    LogBook(LogOptions(keep=60.0), lambda: None).run_once(current())
    # Then
    assert [task_logs.lines(current(), id) for id in ids] == ["", "x\n"]


def test_without_the_setting_nothing_is_kept(start_worker, settings):
    settings.AUTOTASK_LOGS = None
    worker = start_worker()
    handle = chatter(3)
    assert ended(handle) == "done"
    worker.stop()
    wait_until(lambda: not read.workers(current()), what="the end of the worker")
    assert handle.logs() == ""
    assert not any(
        isinstance(each, log_capture.Capture | log_capture.CaptureOthers) for each in logging.getLogger().handlers
    )


def test_files_have_the_lines_of_tasks_and_the_database_those_of_all(start_worker, settings, tmp_path):
    settings.AUTOTASK_LOG_DIR = str(tmp_path)
    start_worker()
    handle = chatter(1)
    wait_until(lambda: len(messages(handle)) == 2, what="the lines in the database")
    wait_until(lambda: "done after" in (tmp_path / f"{handle.id}.log").read_text(), what="the end of the file")
    text = (tmp_path / f"{handle.id}.log").read_text()
    assert text.count("begins") == 1 and "line 0" not in text
    settings.AUTOTASK_LOG_DIR = None


def test_many_lines_take_several_statements(transactional_db, monkeypatch):
    monkeypatch.setattr(log_pieces, "LARGEST_STATEMENT", 1000)
    book, ids = LogBook(LogOptions(), lambda: None), [uuid.uuid4() for _ in range(40)]
    for id in ids * 3:
        book.put(Line((id, 1), 0.0, "INFO", "shop", "x" * 50))
    book.run_once(current())
    assert all(len(task_logs.lines(current(), id).splitlines()) == 3 for id in ids)
    assert rows(current(), "SELECT count(DISTINCT xmin::text) > 5 FROM autotask_log") == [(True,)]


@pytest.mark.parametrize("size", [1_000_000, 9_000, 190, 10])
@pytest.mark.parametrize("where", ["in its thread", "elsewhere"])
def test_the_lines_that_wait_are_bounded_by_bytes(transactional_db, size, where):
    # Given
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    if where == "in its thread":
        context.report_to(lambda progress: None)
    book.take(context, logging.LogRecord("shop", logging.INFO, "", 0, "first", None, None))
    tracemalloc.start()
    # When
    try:
        for number in range({1_000_000: 300, 9_000: 5_000}.get(size, 30_000)):  # 45 MB at least, or very many lines
            message = f"{'x' * size} {number}"
            book.take(context, logging.LogRecord("shop", logging.INFO, "", 0, message, None, None))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Then
    assert kept < 12_000_000
    book.run_once(current())
    [last] = task_logs.lines(current(), context.id).splitlines()[-1:]
    assert last.endswith("…" if size > LONGEST_TEXT else f" {number}")


def test_lines_that_cannot_be_stored_are_bounded_by_bytes(transactional_db, monkeypatch):
    # Given
    monkeypatch.setattr(log_pieces, "MOST_LEFT", 100_000)
    book, ids = LogBook(LogOptions(), lambda: None), [uuid.uuid4() for _ in range(50)]
    # When
    for turn in range(10):
        for id in ids:
            book.put(Line((id, 1), float(turn), "INFO", "shop", "x" * 9_000))
        with transaction.atomic(), pytest.raises(DatabaseError):
            execute(current(), "SET LOCAL transaction_read_only = on")
            book.run_once(current())
    # Then
    assert sum(each.size for each in book._pieces.waiting) < 700_000
    book.run_once(current())
    assert task_logs.lines(current(), ids[-1])


def test_lines_of_a_thread_are_in_their_order_although_the_attempt_has_ended(transactional_db):
    # Given
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    for number in (0, 2):
        book.say(context, float(number), logging.INFO, "shop", f"{number}\nand more")
    book.put(Line((context.id, 1), 1.0, "INFO", "shop", "1"))
    # When
    context.close()
    book.run_once(current())
    # Then
    lines = task_logs.lines(current(), context.id).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["0", "more", "1", "2", "more"]


def test_attempts_that_end_together_share_a_row_and_each_task_has_its_own_lines(transactional_db):
    # Given
    book, ids = LogBook(LogOptions(), lambda: None), [*new_ids(400), uuid.uuid4()]
    for attempt in (1, 2):
        for id in ids:
            context = TaskContext(id, "shop.restock", attempt, fence=1)
            context.report_to(lambda progress: None)
            book.say(context, 0.0, logging.INFO, "shop", f"{id} {attempt}")
            book.say(context, 0.0, logging.INFO, "shop", "done")
            context.close()
    # When
    book.run_once(current())
    # Then
    assert rows(current(), "SELECT count(*) BETWEEN 2 AND 6 FROM autotask_log") == [(True,)]
    for id in (ids[0], ids[199], ids[-2], ids[-1]):
        found = [line.partition(" - ")[2] for line in task_logs.lines(current(), id).splitlines()]
        assert found == [f"{id} 1", "done", f"{id} 2", "done"]
        assert len(task_logs.lines(current(), id, 2).splitlines()) == 2
    assert task_logs.lines(current(), new_ids(1)[0]) == ""


def test_an_attempt_that_ends_with_more_than_it_may_have_keeps_its_last_lines(transactional_db):
    # Given
    book, context = LogBook(LogOptions(max=2000), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    for number in range(100):
        book.say(context, 0.0, logging.INFO, "shop", f"Zürich {number}")
    # When
    context.close()
    book.run_once(current())
    # Then
    first, said = task_logs.lines(current(), context.id).split("\n", 1)
    assert said.endswith("Zürich 99\n") and 1800 < len(said.encode()) <= 2000
    assert first.endswith(f" - {100 - len(said.splitlines())} earlier lines are not kept")
    assert not book._here


def test_attempts_that_have_ended_are_bounded_by_bytes_until_they_are_stored(transactional_db, monkeypatch):
    # Given
    monkeypatch.setattr(module, "ENOUGH", 1_000)
    monkeypatch.setattr(module, "MUCH", 10_000)
    monkeypatch.setattr(module, "MOST_LEFT", 100_000)
    hurried: list[bool] = []
    book, ids = LogBook(LogOptions(), lambda: hurried.append(True)), new_ids(1000)
    # When
    for id in ids:
        context = TaskContext(id, "shop.restock", fence=1)
        context.report_to(lambda progress: None)
        book.say(context, 0.0, logging.INFO, "shop", "x" * 1000)
        context.close()
    # Then
    assert len(book._ended) < 120 and len(hurried) > 50
    book.run_once(current())
    assert task_logs.lines(current(), ids[-1]) and not task_logs.lines(current(), ids[0])


def test_many_lines_become_texts_when_an_attempt_ends_and_few_wait(transactional_db, monkeypatch):
    # Given
    monkeypatch.setattr(module, "ENOUGH", 300)
    book, ids = LogBook(LogOptions(), lambda: None), new_ids(10)
    running = TaskContext(ids[0], "shop.restock", fence=1)
    running.report_to(lambda progress: None)
    # When
    for id in ids[1:]:
        context = TaskContext(id, "shop.restock", fence=1)
        context.report_to(lambda progress: None)
        for each in (running, context):
            book.say(each, 0.0, logging.INFO, "shop", str(id))
        context.close()
        assert len(book._said) < 8
    # Then: also those of the one that runs, whose texts stay together
    assert book._here.keys() == {running}
    running.close()
    book.run_once(current())
    assert [task_logs.lines(current(), id).count("\n") for id in ids] == [9, *[1] * 9]
    assert rows(current(), "SELECT count(*) FROM autotask_log") == [(1,)] and not book._here


def test_lines_that_cannot_be_made_a_text_harm_no_others(transactional_db, monkeypatch, caplog):
    # Given
    book, ids = LogBook(LogOptions(), lambda: None), new_ids(2)
    contexts = [TaskContext(id, "shop.restock", fence=1) for id in ids]
    usual = Texts.of

    def text_of_last(texts, said, attempt, masks):
        return usual(texts, said, attempt, masks) if said[0][0] is contexts[1] else 1 / 0

    monkeypatch.setattr(Texts, "of", text_of_last)
    # When
    for context in contexts:
        context.report_to(lambda progress: None)
        book.say(context, 0.0, logging.INFO, "shop", "said")
        context.close()
    book.run_once(current())
    # Then
    assert f"The lines of task {ids[0]}, attempt 1 are lost" in caplog.text
    assert [task_logs.lines(current(), id)[-5:] for id in ids] == ["", "said\n"]
    monkeypatch.undo()
    book.say(contexts[0], 1.0, logging.INFO, "shop", "later")
    book.run_once(current())
    assert task_logs.lines(current(), ids[0]).endswith(" - later\n")


@pytest.mark.parametrize("created", [None, "yesterday", float("nan"), 1.8e18, -1e300])
@pytest.mark.parametrize("where", ["in the attempt", "elsewhere"])
def test_a_record_whose_time_is_none_loses_no_line(transactional_db, created, where):
    # Given
    book, contexts = LogBook(LogOptions(), lambda: None), [TaskContext(id, "x", fence=1) for id in new_ids(2)]
    records = [logging.LogRecord("shop", logging.INFO, "", 0, str(number), None, None) for number in range(3)]
    records[1].created = created
    # When
    for context in contexts:
        context.report_to(lambda progress: None)
        book.say(context, time.time(), logging.INFO, "shop", "said")
    for record in records:
        if where == "in the attempt":
            book.take(contexts[0], record)
        else:
            book.take_stray((contexts[0].id, 1), record)
    for context in contexts:
        context.close()
    book.run_once(current())
    # Then
    lines = [task_logs.lines(current(), context.id).splitlines() for context in contexts]
    said = [sorted(line.partition(" - ")[2] for line in each) for each in lines]
    assert said == [["0", "1", "2", "said"], ["said"]]


def test_a_record_without_a_logger_harms_neither_the_task_nor_its_lines(transactional_db, monkeypatch):
    # Given
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "x", fence=1)
    context.report_to(lambda progress: None)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log_capture.start(book)
    nameless = logging.makeLogRecord({"msg": "nameless", "levelno": logging.INFO, "levelname": "INFO"})

    def act() -> None:
        enter(context)
        shop.info("before")
        for logger in (shop, context.logger.logger):
            logger.handle(nameless)
        shop.info("after")

    # When
    contextvars.copy_context().run(act)
    context.close()
    book.run_once(current())
    # Then
    said = [line.partition(" - ")[2] for line in task_logs.lines(current(), context.id).splitlines()]
    assert [each for each in said if each != "nameless"] == ["before", "after"]


def test_no_line_is_lost_that_a_thread_logs_while_its_attempt_ends(transactional_db):
    # Given
    book, contexts = LogBook(LogOptions(), lambda: None), [TaskContext(id, "x", fence=1) for id in new_ids(200)]
    for context in contexts:
        context.report_to(lambda progress: None)
    begun, is_over = threading.Semaphore(0), threading.Event()

    def speak() -> None:
        for context in contexts:
            begun.release()
            for number in range(5):
                book.say(context, time.time(), logging.INFO, "shop", str(number))

    def store() -> None:
        while not is_over.is_set():
            with book._gathering:
                book._gather()

    speaking, storing = threading.Thread(target=speak), threading.Thread(target=store)
    # When
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        storing.start(), speaking.start()
        for context in contexts:
            begun.acquire()
            book.say(context, time.time(), logging.INFO, "shop", "mine")
            context.close()
        speaking.join()
    finally:
        is_over.set()
        storing.join()
        sys.setswitchinterval(before)
    book.close()
    book.run_once(current())
    # Then
    assert [len(task_logs.lines(current(), context.id).splitlines()) for context in contexts] == [6] * len(contexts)
    assert not book._here


def test_a_thread_that_logs_first_while_its_attempt_ends_loses_no_later_line(transactional_db):
    # Given: the attempt has logged nothing itself, and ends while its thread begins
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.lines = book
    # When
    for number in range(3):
        book.say(context, float(number), logging.INFO, "shop", str(number))
        book.close()
        book.run_once(current())
    book.run_once(current())
    # Then
    assert len(task_logs.lines(current(), context.id).splitlines()) == 3


def test_lines_that_a_thread_adds_to_an_attempt_that_has_just_ended_are_no_more_than_it_may_have(transactional_db):
    # Given
    book, context = LogBook(LogOptions(max=2000), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    book.say(context, 0.0, logging.INFO, "shop", "first")
    for number in range(1, 1000):
        book.put(Line((context.id, 1), float(number), "INFO", "shop", str(number)))
    # When
    context.close()
    book.run_once(current())
    # Then
    assert 1000 < stored() <= 2000 and task_logs.lines(current(), context.id).endswith(" - 999\n")


def test_a_late_thread_takes_no_lines_of_another_attempt(transactional_db):
    # Given: the only two attempts that ended in this second are of one task
    book, id = LogBook(LogOptions(max=2000), lambda: None), uuid.uuid4()
    for attempt in (1, 2):
        context = TaskContext(id, "shop.restock", attempt, fence=attempt)
        context.report_to(lambda progress: None)
        book.say(context, 0.0, logging.INFO, "shop", "said")
        context.close()
    book.run_once(current())
    # When
    for number in range(200):
        book.put(Line((id, 1), float(number), "INFO", "shop", "x" * 50))
        book.run_once(current())
    # Then
    assert task_logs.lines(current(), id, 2).endswith(" - said\n")
    assert stored() <= 2200


class Taken(deque):
    """Lines that another thread takes just when they are taken."""

    def popleft(self):
        said = super().popleft()
        self.clear()
        return said


def test_threads_that_take_the_same_lines_harm_neither_the_attempt_nor_the_writer(transactional_db, monkeypatch):
    # Given: more of them than may wait
    monkeypatch.setattr(module, "MOST_WAITING", 200)
    monkeypatch.setattr(module, "MUCH", 100)
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    book._said = Taken()
    # When
    for _ in range(9):
        book.say(context, 0.0, logging.INFO, "shop", "x" * 50)
    # Then
    book.run_once(current())
    assert not book._said


def test_lines_that_were_taken_are_stored_although_another_thread_has_forgotten_the_others(transactional_db):
    # Given
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    book._said = Taken()
    # When
    for number in range(3):
        book.say(context, 0.0, logging.INFO, "shop", str(number))
    book.run_once(current())
    # Then
    assert task_logs.lines(current(), context.id) == "1970-01-01 00:00:00.000Z | 1 | INFO | shop - 0\n"


def test_each_line_has_its_own_time_level_and_logger(transactional_db):
    # Given
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", attempt=2, fence=1)
    logged = [
        *((0.0, "INFO", "shop"), (0.0004, "INFO", "shop"), (0.0012, "INFO", "shop"), (0.0014, "ERROR", "shop")),
        *((0.0014, "ERROR", "shop.stock"), (7.0, "ERROR", "shop.stock"), (6.9, "ERROR", "shop.stock")),
    ]
    # When
    for created, level, name in logged:
        book.say(context, created, logging.getLevelName(level), name, "said")
    book.run_once(current())
    # Then
    assert task_logs.lines(current(), context.id) == "".join(
        f"1970-01-01 00:00:0{int(created)}.{int(created % 1 * 1000):03d}Z | 2 | {level} | {name} - said\n"
        for created, level, name in logged
    )


def test_lines_that_are_forgotten_since_the_writer_does_not_come_are_counted(transactional_db, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 2_000)
    monkeypatch.setattr(module, "MUCH", 100)
    book, context = LogBook(LogOptions(), lambda: None), TaskContext(uuid.uuid4(), "shop.restock", fence=1)
    context.report_to(lambda progress: None)
    for number in range(1_500):
        book.say(context, 0.0, logging.INFO, "shop", str(number))
    book.run_once(current())
    first, *others = task_logs.lines(current(), context.id).splitlines()
    assert first.endswith(f" - {1_500 - len(others):,} earlier lines are not kept") and len(others) > 20


def test_attempts_elsewhere_are_forgotten_although_nothing_can_be_stored(transactional_db, monkeypatch):
    monkeypatch.setattr(module, "MOST_REMEMBERED", 10)
    book = LogBook(LogOptions(), lambda: None)
    for _ in range(3):
        for _ in range(20):
            book.put(Line((uuid.uuid4(), 1), 0.0, "INFO", "shop", "said"))
        with transaction.atomic(), pytest.raises(DatabaseError):
            execute(current(), "SET LOCAL transaction_read_only = on")
            book.run_once(current())
    assert len(book._elsewhere) == 10
