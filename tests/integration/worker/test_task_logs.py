"""The log files of tasks: their lines in every pool, after every end, and until their results are pruned."""

import logging
import os
import re
import shutil
import signal
import sys
import time

import pytest

from autotask import log_files, logs
from autotask.store import prune
from autotask.store.connection import current
from autotask.task import ERROR, new_id
from autotask.worker import log_capture, log_pruner, log_writer, watch
from autotask.worker.log_pruner import LogPruner
from tests.gates import gate
from tests.helpers import ended, wait_until
from tests.integration.worker import logged
from tests.integration.worker.conftest import worker_program

pytestmark = pytest.mark.django_db(transaction=True)

LINE = re.compile(
    r"\[(?P<pid>\d+)\] \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| (?P<level>[A-Z]+) \| (?P<task>\S+) \| (?P<where>\w+:\d+) - (?P<text>.*)"
)


@pytest.fixture
def folder(settings, tmp_path, monkeypatch):
    """The folder of the log files, of workers in this process, of their children, and of others."""
    folder = tmp_path / "logs"
    settings.AUTOTASK_LOG_DIR = folder
    settings.AUTOTASK_EXECUTORS = {"everywhere": ("tests.integration.worker.everywhere.threads", 2)}
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.integration.worker.app.settings")
    monkeypatch.setenv("AUTOTASK_TEST_LOG_DIR", str(folder))
    monkeypatch.setattr(log_writer, "_said_at", float("-inf"))
    yield folder
    settings.AUTOTASK_LOG_DIR = None
    log_capture.start()


@pytest.fixture
def without(settings):
    """No log files."""
    settings.AUTOTASK_LOG_DIR = None


def lines(handle):
    """Return the matches of all lines of a task; lines that continue others are None."""
    seen = logs.read(handle.id)
    return [LINE.fullmatch(line) for line in seen.text.splitlines()] if seen else []


def texts(handle):
    return [line["text"] for line in lines(handle) if line]


def names(folder, *ids):
    """Return the names of files, without those of tasks that other modules have scheduled."""
    found = [path.name for path in folder.iterdir() if path.name != log_pruner.MARK]
    return sorted(name for name in found if (id := log_files.task_of(name)) is None or id in ids)


def open_files(folder):
    return [link for link in os.listdir("/proc/self/fd") if _target(link).startswith(str(folder))]


def _target(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("where", logged.EVERYWHERE)
def test_the_file_of_a_task_has_its_start_its_own_lines_and_its_end(where, folder, start_worker):
    # Given
    start_worker(processes=1)

    # When
    handle = logged.EVERYWHERE[where]("hello")
    assert handle.wait(20) == "hello"

    # Then
    found = lines(handle)
    name = logged.EVERYWHERE[where].name
    assert [line and line["text"] for line in found[:-1]] == [
        f"started: {name}, attempt 1 of 1",
        "by the context: hello",
        "by the id: hello",
        "by the key: hello",
    ]
    assert re.fullmatch(r"attempt 1 of 1 done after \d+\.\d{3} s", found[-1]["text"])
    assert [line["level"] for line in found] == ["INFO", "INFO", "WARNING", "INFO", "INFO"]
    assert {line["task"] for line in found} == {str(handle.id)}
    assert all(line["where"].startswith("logged:") for line in found)
    [pid] = {int(line["pid"]) for line in found}
    assert (pid != os.getpid()) == (where == "process")
    assert names(folder, handle.id) == [f"{handle.id}.log"]


@pytest.mark.skipif(sys.platform != "linux", reason="open files are known on Linux")
def test_files_are_closed_with_their_attempts(folder, start_worker):
    start_worker()
    for handle in [logged.EVERYWHERE[where]("x") for where in ("thread", "coroutine") for _ in range(5)]:
        handle.wait(20)
    wait_until(lambda: not open_files(folder), what="the end of the last attempt")
    assert log_capture._open == {}


def test_each_attempt_has_its_lines_in_one_file_and_no_line_can_be_forged(folder, start_worker):
    # Given
    start_worker()

    # When
    handle = logged.fail()
    assert ended(handle) is ERROR

    # Then
    name = logged.fail.name
    found = lines(handle)
    assert [re.sub(r"\d[\d.]* m?s", "… s", line["text"]) for line in found if line] == [
        f"started: {name}, attempt 1 of 2",
        "attempt 1",
        "attempt 1 of 2 failed after … s, next in … s",
        f"started: {name}, attempt 2 of 2",
        "attempt 2",
        "attempt 2 of 2 failed after … s, no retry follows",
    ]
    assert [line["level"] for line in found if line] == ["INFO", "INFO", "WARNING", "INFO", "INFO", "ERROR"]
    text = logs.read(handle.id).text
    assert text.count("ValueError: of attempt 1") == text.count("ValueError: of attempt 2") == 1
    assert "\n  [1] 2026-01-01" in text and "\x1b" not in text


def test_lines_of_threads_that_the_task_has_started_are_in_its_file(folder, start_worker):
    start_worker()
    handle = logged.speak_in_threads()
    handle.wait(20)
    assert texts(handle)[1:-1] == ["by the context in a thread", "by the id in a thread"]


def test_lines_of_tasks_that_run_at_the_same_time_are_told_apart(folder, start_worker, request):
    # Given
    start_worker()
    name = request.node.name

    # When
    ping, pong = (logged.speak_by_turns(word, name) for word in ("ping", "pong"))
    ping.wait(20), pong.wait(20)

    # Then
    assert texts(ping)[1:-1] == ["ping begins", "ping ends"]
    assert texts(pong)[1:-1] == ["pong begins", "pong ends"]


def test_a_task_that_people_know_by_a_key_is_found_by_it(folder, start_worker, monkeypatch):
    # Given
    task = logged.EVERYWHERE["thread"]
    monkeypatch.setattr(task, "log_key", lambda claimed: "Oslo/../1", raising=False)
    start_worker()

    # When
    handle = task("hello")
    handle.wait(20)

    # Then
    link = folder / "Oslo%2F..%2F1.log"
    assert link.resolve() == (folder / f"{handle.id}.log").resolve()
    assert len(re.findall(r"^\[\d+\] \S+ \S+ \| [A-Z]+ \| Oslo/../1 \| ", link.read_text(), re.M)) == 5


def test_a_process_that_is_killed_leaves_its_lines_and_its_end_is_added(folder, start_worker, settings):
    # Given
    settings.AUTOTASK_MAX_CRASHES = 1
    start_worker(processes=2)

    # When
    dead, late = logged.speak_and_die(), logged.speak_and_hang()
    assert ended(dead) is ERROR and ended(late) is ERROR

    # Then
    assert texts(dead)[1] == "last words"
    wait_until(lambda: texts(dead)[-1].startswith("lost: "), what="the line about the dead process")
    assert "SIGKILL" in texts(dead)[-1] and texts(dead)[-1].endswith("it will not run again")
    assert texts(late)[1] == "hangs" and texts(late)[-1].startswith("attempt 1 of 1 failed after ")
    assert "timed out after 1 s" in logs.read(late.id).text


def test_a_worker_that_is_killed_leaves_its_lines_and_the_next_one_goes_on(folder, start_worker, tmp_path):
    # Given
    program = worker_program(tmp_path, ("--threads", "1"))
    handle = logged.speak_and_stay(str(tmp_path / "pid"))
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="the start of the task")

    # When
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    program.wait()
    start_worker()

    # Then
    assert handle.wait(20) == 2
    found = texts(handle)
    assert [found[0], found[1]] == [f"started: {logged.speak_and_stay.name}, attempt 1 of 1", "here"]
    assert [text.split(":")[0] for text in found[2:4]] == ["lost", "started"]
    assert found[4] == "here" and found[5].startswith("attempt 1 of 1 done after ")
    assert {int(line["pid"]) for line in lines(handle)} == {program.pid, os.getpid()}


def test_lines_after_the_end_of_an_attempt_that_was_given_up_are_not_in_the_file(
    folder, start_worker, monkeypatch, request
):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.2)
    start_worker()
    name = request.node.name

    # When
    handle = logged.speak_without_end.using(timeout=0.3)(name)
    assert ended(handle) is ERROR
    before = texts(handle)
    gate(name).set()
    assert gate(f"{name} is over").wait(20)

    # Then
    assert before[1] == "begins" and before[-1].startswith("attempt 1 of 1 failed after ")
    assert "goes on" not in texts(handle)


def test_the_level_of_the_lines_is_that_of_logging(folder, start_worker, caplog):
    # Given
    caplog.set_level(logging.WARNING, "autotask.task")
    start_worker()

    # When
    handle = logged.EVERYWHERE["thread"]("hello")
    handle.wait(20)

    # Then
    assert texts(handle)[1:-1] == ["by the id: hello"]


def test_without_a_folder_nothing_is_written_and_nothing_captured(without, start_worker, tmp_path):
    start_worker()
    handle = logged.EVERYWHERE["thread"]("hello")
    assert handle.wait(20) == "hello"
    assert logs.read(handle.id) is None and log_capture.folder() is None
    assert not any(isinstance(each, log_capture.Capture) for each in logging.getLogger("autotask.task").handlers)


def test_a_folder_that_cannot_be_written_fails_no_task_and_is_logged_once(folder, start_worker, caplog):
    # Given
    folder.write_text("not a folder")
    start_worker()

    # When
    handles = [logged.EVERYWHERE[where]("hello") for where in ("thread", "coroutine") for _ in range(3)]

    # Then
    assert [handle.wait(20) for handle in handles] == ["hello"] * 6
    assert [record.levelname for record in caplog.records if "cannot be written" in record.getMessage()] == ["ERROR"]


@pytest.mark.parametrize(
    ("environment", "pools", "shown"),
    [({}, ["thread"], 1), ({"DISABLE_STREAM_HANDLER": "0"}, ["thread", "process"], 0)],
    ids=["shown", "kept off"],
)
def test_lines_of_tasks_are_on_the_console_unless_it_is_switched_off(
    environment, pools, shown, folder, tmp_path, monkeypatch
):
    # Given
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    program = worker_program(tmp_path, ("--processes", "1", "--burst"))
    handles = [logged.EVERYWHERE[where]("hello") for where in pools]

    # When
    for handle in handles:
        assert handle.wait(30) == "hello"
    program.wait()

    # Then
    assert program.output().count("by the context: hello") == shown
    assert all("by the context: hello" in texts(handle) for handle in handles)
    assert "worker" in program.output()  # Its own lines are shown.


# --- pruning --------------------------------------------------------------------------------------------------------


def go_through(folder):
    """Go through the folder once, and return how many pieces that took."""
    (folder / log_pruner.MARK).unlink(missing_ok=True)
    service, pieces = LogPruner(), 1
    while service.run_once(current()) == log_pruner.PAUSE:
        pieces += 1
    return pieces


def test_files_are_deleted_with_the_results_of_their_tasks(folder, start_worker):
    # Given
    worker = start_worker()
    kept, pruned = logged.EVERYWHERE["thread"]("kept"), logged.EVERYWHERE["thread"]("pruned")
    both = kept.id, pruned.id
    wait_until(lambda: len(names(folder, *both)) == 2 and all(map(ended, (kept, pruned))), what="both files")
    worker.stop()

    # When: without ttl=0, since the worker's own pruner could come first
    prune.prune(current(), longer=-3600, only=[pruned.id])
    go_through(folder)

    # Then
    assert names(folder, *both) == [f"{kept.id}.log"]


def test_files_that_killed_workers_have_left_are_deleted_in_pieces_and_nothing_else_is(folder, monkeypatch):
    # Given: no worker, whose pruner would delete some of them at the same time
    log_capture.start()
    monkeypatch.setattr(log_pruner, "PIECE", 10)
    live = logged.EVERYWHERE["thread"].using(delay=3600)("later")
    gone = [new_id() for _ in range(20)]
    folder.mkdir(exist_ok=True)
    for id in (live.id, *gone):
        (folder / f"{id}.log").write_text("a line\n")
        (folder / f"{id}.log.1").write_text("an earlier line\n")
    (folder / "Oslo.log").symlink_to(f"{gone[0]}.log")
    (folder / "Bergen.log").symlink_to(f"{live.id}.log")
    (folder / "foreign.log").symlink_to("nothing")
    (folder / "django.log").write_text("of the site\n")
    (folder / ".abc.new").symlink_to("x.log")
    old = time.time() - 2 * log_pruner.FORGOTTEN
    os.utime(folder / ".abc.new", (old, old), follow_symlinks=False)

    # When
    pieces = go_through(folder)
    go_through(folder)  # A link may be looked at before the file to which it leads is deleted.

    # Then
    mine = ["Bergen.log", f"{live.id}.log", f"{live.id}.log.1", "django.log", "foreign.log"]
    assert names(folder, live.id, *gone) == sorted(mine)
    assert pieces == 5  # of 48 files, with the mark


def test_one_worker_of_a_host_goes_through_the_folder_now_and_then(folder, start_worker, settings):
    # Given
    settings.AUTOTASK_CLEAN_INTERVAL = 60
    start_worker()
    wait_until((folder / log_pruner.MARK).exists, what="the first look of the worker")

    # Then
    (folder / f"{(left := new_id())}.log").write_text("a line\n")
    assert 0 < LogPruner().run_once(current()) <= 720
    assert names(folder, left) == [f"{left}.log"]
    os.utime(folder / log_pruner.MARK, (time.time() - 700,) * 2)
    assert 400 < LogPruner().run_once(current()) <= 720
    assert names(folder, left) == []


def test_a_folder_that_is_gone_harms_no_worker(folder, start_worker):
    start_worker()
    wait_until((folder / log_pruner.MARK).exists, what="the first look of the worker")
    shutil.rmtree(folder)
    assert LogPruner().run_once(current()) > 60
    handle = logged.EVERYWHERE["thread"]("hello")
    assert handle.wait(20) == "hello" and len(texts(handle)) == 5
