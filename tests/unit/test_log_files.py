"""The log files of tasks: names that stay in their folder, rotation, the last lines, and folders that cannot be written."""

import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from autotask import log_files, logs
from autotask.task import new_id
from autotask.worker import log_writer
from autotask.worker.log_writer import LogFolder, LogWriter


@pytest.fixture
def id():
    return new_id()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No complaint was logged a moment ago."""
    monkeypatch.setattr(log_writer, "_said_at", float("-inf"))


@pytest.fixture
def write(folder, id):
    """Write lines to the file of a task, which is opened anew for each call."""

    def write(*lines, size=10_000, backups=2, key=None):
        writer = LogWriter(LogFolder(folder, size, backups), id, key)
        for line in lines:
            writer.write(line)
        writer.close()

    return write


@pytest.mark.parametrize(
    "key",
    [
        *(
            "../x",
            "..",
            ".",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "a\0b",
            "C:x",
            "",
            ".hidden",
            "-rf",
            "~",
        ),
        *("Oslo 2026", "Zürich", "京都" * 100, "x" * 500, "%2E%2E", "\ud800", "a\nb", "a.log", "a.log.1"),
    ],
)
def test_the_link_of_any_key_is_a_file_in_the_folder(key, folder, write):
    # When
    write("a line", key=key)

    # Then
    [link] = [path for path in folder.iterdir() if path.is_symlink()]
    assert link.parent.resolve() == folder.resolve() and link.name.endswith(".log") and not link.name.startswith(".")
    assert link.read_text() == "a line\n"
    assert len(list(folder.iterdir())) == 2


def test_different_keys_have_different_links(folder):
    keys = ["a/b", "a%2Fb", "a b", "a+b", "x" * 500, "x" * 501, "x" * 499 + "y", ".a", "%2Ea"]
    assert len({log_files.link_of(folder, key) for key in keys}) == len(keys)
    assert log_files.link_of(folder, "Oslo-2026-11-28").name == "Oslo-2026-11-28.log"


def test_the_link_of_a_key_leads_to_its_latest_task(folder, write):
    # Given
    write("of the first run", key="Oslo")

    # When
    writer = LogWriter(LogFolder(folder, 1000, 2), new_id(), "Oslo")
    writer.write("of the second run")
    writer.close()

    # Then
    assert (folder / "Oslo.log").read_text() == "of the second run\n"


def test_a_file_that_is_not_ours_is_left_alone(folder, write, id):
    folder.mkdir()
    (folder / "Oslo.log").write_text("by somebody else")
    write("a line", key="Oslo")
    assert (folder / "Oslo.log").read_text() == "by somebody else"
    assert log_files.read(folder, id, 100).text == "a line\n"


def test_a_full_file_is_rotated_and_the_oldest_is_dropped(folder, write, id):
    # When
    write(*(f"{number:09}" for number in range(12)), size=30, backups=2)

    # Then
    assert [path.name for path in log_files.files_of(folder, id)] == [f"{id}.log", f"{id}.log.1", f"{id}.log.2"]
    assert log_files.read(folder, id, 1000).text.split() == [f"{number:09}" for number in range(3, 12)]
    assert sorted(path.name for path in folder.iterdir()) == [f"{id}.log", f"{id}.log.1", f"{id}.log.2"]


def test_a_file_that_was_full_when_its_task_ended_is_rotated_by_the_next_attempt(folder, write, id):
    write("x" * 40, size=30)
    write("y" * 40, size=30)
    assert [path.read_text()[0] for path in log_files.files_of(folder, id)] == ["y", "x"]


def test_without_backups_a_full_file_begins_again(folder, write, id):
    write("x" * 20, "y" * 20, size=30, backups=0)
    assert [path.read_text() for path in log_files.files_of(folder, id)] == ["y" * 20 + "\n"]


def test_a_file_that_another_process_has_rotated_is_not_rotated_again(folder, id):
    # Given
    place = LogFolder(folder, 30, 5)
    first, second = LogWriter(place, id), LogWriter(place, id)
    first.write("a" * 20)
    second.write("b" * 5)
    second.write("c" * 10)  # rotates

    # When
    first.write("d" * 15)

    # Then
    first.close()
    second.close()
    assert [path.read_text().split() for path in log_files.files_of(folder, id)] == [
        ["c" * 10, "d" * 15],
        ["a" * 20, "b" * 5],
    ]


@pytest.mark.parametrize(
    ("most", "expected", "is_all"),
    [
        (1000, ["1", "2", "3", "4"], True),
        (80, ["1", "2", "3", "4"], True),
        (79, ["2", "3", "4"], False),
        (45, ["3", "4"], False),
    ],
)
def test_the_last_lines_are_read_as_whole_lines_over_all_files(folder, write, id, most, expected, is_all):
    write(*(digit * 19 for digit in "1234"), size=40)
    seen = log_files.read(folder, id, most)
    assert [line[0] for line in seen.text.splitlines()] == expected
    assert seen.is_all is is_all and seen.path == folder / f"{id}.log"


def test_a_task_without_a_file_has_no_log(folder, id, settings):
    assert log_files.read(folder, id, 100) is None
    assert logs.read(id) is None
    settings.AUTOTASK_LOG_DIR = folder
    assert logs.read(id) is None


def test_text_that_cannot_be_encoded_is_written_all_the_same(write, folder, id):
    write("a\ud800b")
    assert log_files.read(folder, id, 100).text == "a\\ud800b\n"


def test_lines_of_many_threads_are_whole(folder, id):
    # Given
    writer = LogWriter(LogFolder(folder, 5000, 1000), id)

    def work(letter):
        for _ in range(200):
            writer.write(letter * 50)

    # When
    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    # Then
    lines = log_files.read(folder, id, 10**6).text.splitlines()
    assert sorted(lines) == sorted(letter * 50 for letter in "abcd" for _ in range(200))


def test_a_folder_that_cannot_be_written_loses_the_lines_and_is_logged_once_a_minute(
    folder, write, caplog, monkeypatch
):
    # Given
    folder.write_text("not a folder")

    # When
    write(*("lost" for _ in range(10)))

    # Then
    [record] = caplog.records
    assert record.levelno == logging.ERROR and record.name == "autotask.worker" and str(folder) in record.getMessage()

    # When
    monkeypatch.setattr(log_writer, "SAY_EVERY", 0.0)
    write("lost")

    # Then
    assert len(caplog.records) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_loses_the_lines_and_fails_nothing(folder, write, id, caplog):
    folder.mkdir()
    writer = LogWriter(LogFolder(folder, 1000, 2), id)
    writer._descriptor = os.open("/dev/full", os.O_WRONLY)
    writer.write("lost")
    writer.write("lost")
    writer.close()
    [record] = caplog.records
    assert "No space left on device" in record.getMessage()


def test_a_folder_that_is_deleted_meanwhile_is_made_again(folder, write, id):
    write("first")
    (folder / f"{id}.log").unlink()
    folder.rmdir()
    write("second")
    assert log_files.read(folder, id, 100).text == "second\n"


def test_a_link_in_place_of_a_file_is_not_followed(folder, write, id, tmp_path, caplog):
    folder.mkdir()
    (tmp_path / "precious").write_text("precious\n")
    (folder / f"{id}.log").symlink_to(tmp_path / "precious")
    write("a line")
    assert (tmp_path / "precious").read_text() == "precious\n"
    assert len(caplog.records) == 1


def test_only_names_of_ours_belong_to_tasks(id):
    assert log_files.task_of(f"{id}.log") == log_files.task_of(f"{id}.log.12") == id
    for name in (f"{id}", f"x{id}.log", f"{id}.log.gz", f"{id}.log.", f"{id.hex}.log", "django.log", "Oslo.log"):
        assert log_files.task_of(name) is None


def test_why_a_folder_cannot_be_written(tmp_path):
    assert logs.why_unwritable(tmp_path) == logs.why_unwritable(tmp_path / "a" / "b") == ""
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    for where in (tmp_path / "file", tmp_path / "file" / "logs"):
        assert logs.why_unwritable(where) == f"{tmp_path / 'file'} is not a folder"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_why_another_user_cannot_write_a_folder():
    # Given
    folder = Path(tempfile.mkdtemp())  # outside of those of pytest, which are closed to others
    folder.chmod(0o755)
    (folder / "closed").mkdir(mode=0o700)

    # When
    os.seteuid(65534)
    try:
        answers = [logs.why_unwritable(folder / path) for path in (".", "a", "closed/a/b")]
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)

    # Then
    assert answers[0] == f"this user may not write in {folder}"
    assert answers[1] == f"this user may not write in {folder}, to make it there"
    assert "Permission denied" in answers[2] or "closed, to make it there" in answers[2]
