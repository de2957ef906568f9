"""Where the companions of one host meet, and what becomes of those that find no place."""

import errno
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
from django.db import connections

from autotask.companion import child, election
from autotask.companion.election import Candidate
from autotask.companion.meeting_place import meeting_place
from autotask.processes import file_locks
from tests.helpers import wait_until


@pytest.fixture(autouse=True)
def folder(settings, monkeypatch, tmp_path):
    settings.AUTOTASK_COMPANION = "host"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_there_is_one_place_for_each_site(settings, folder):
    first = meeting_place()
    assert first == meeting_place() and first.startswith(str(folder))
    settings.AUTOTASK_QUEUES = ["mail"]
    assert meeting_place() != first
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def place_of(monkeypatch, options=None, **entries):
    """Return the place of a site whose database has these settings besides."""
    database = connections["default"].settings_dict
    with monkeypatch.context() as patched:
        for name, value in entries.items():
            patched.setitem(database, name, value)
        patched.setitem(database, "OPTIONS", {**database["OPTIONS"], **(options or {})})
        return meeting_place()


@pytest.mark.parametrize(
    "difference",
    [
        {"HOST": "db2"},
        {"PORT": "5433"},
        {"NAME": "other"},
        {"USER": "other"},
        {"SCHEMA": "other"},  # of another engine
        {"options": {"options": "-c search_path=other"}},
        {"options": {"service": "other"}},
        {"options": {"servicefile": Path("/etc/other.conf")}},
        {"options": {"assume_role": "other"}},
        {"options": {"hostaddr": "10.0.0.2"}},
        {"options": {"target_session_attrs": "read-write"}},
    ],
    ids=str,
)
def test_sites_with_different_databases_or_schemas_do_not_meet(monkeypatch, difference):
    assert place_of(monkeypatch, **difference) != meeting_place()


@pytest.mark.parametrize(
    "name", ["PGOPTIONS", "PGSERVICE", "PGSERVICEFILE", "PGHOST", "PGUSER", "DJANGO_SETTINGS_MODULE"]
)
def test_sites_that_differ_by_the_environment_do_not_meet(monkeypatch, name):
    first = meeting_place()
    monkeypatch.setenv(name, "other")
    assert meeting_place() != first


@pytest.mark.parametrize(
    "difference",
    [
        {"PASSWORD": "other"},
        {"ENGINE": "other.engine"},
        {"CONN_MAX_AGE": 60},
        {"CONN_HEALTH_CHECKS": True},
        {"TEST": {"NAME": "other"}},
        {"options": {"passfile": "/home/x/.pgpass"}},
        {"options": {"application_name": "web 123"}},
        {"options": {"pool": {"max_size": 4}}},
    ],
    ids=str,
)
def test_processes_that_use_one_database_in_different_ways_meet(monkeypatch, difference):
    assert place_of(monkeypatch, **difference) == meeting_place()


def test_processes_of_one_site_meet_whatever_objects_its_settings_have(monkeypatch):
    first, second = (
        place_of(monkeypatch, PORT=port, ROUTES=[object(), {"b", "a"}], options={"context": object(), "factory": dict})
        for port in (5432, "5432")
    )
    assert first == second
    assert place_of(monkeypatch, NAME=Path("/x")) == place_of(monkeypatch, NAME="/x")


def test_the_place_tells_nothing_of_the_password(monkeypatch):
    places = {place_of(monkeypatch, PASSWORD=word, options={"password": word}) for word in ("hunter2", "hunter3")}
    assert len(places) == 1 and not any("hunter" in place for place in places)


def test_there_is_no_place_where_each_companion_works(settings, folder):
    settings.AUTOTASK_COMPANION = "process"
    assert meeting_place() is None
    assert not list(folder.iterdir())


def test_without_a_place_for_the_lock_the_companion_works_and_a_line_says_why(folder, monkeypatch, caplog):
    # Given a folder that is none
    file = folder / "file"
    file.touch()
    monkeypatch.setattr(tempfile, "tempdir", str(file))

    # When
    with caplog.at_level(logging.WARNING):
        place = meeting_place()

    # Then
    assert place is None
    assert "there is no place for the lock" in caplog.text and "TMPDIR" in caplog.text


def test_where_no_folder_for_temporary_files_can_be_written_to_the_companion_works_and_a_line_says_why(
    monkeypatch, caplog
):
    # Given
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nothing-can-be-made-here"])

    # When
    with caplog.at_level(logging.WARNING):
        place = meeting_place()

    # Then
    assert place is None
    assert "there is no place for the lock (" in caplog.text


def test_who_can_have_one_lock_only_leaves_none_open(folder):
    # Given
    (folder / "site.next").mkdir()
    files = psutil.Process().num_fds()

    # Then
    with pytest.raises(OSError, match="directory"):
        Candidate(str(folder / "site"))
    assert psutil.Process().num_fds() == files


def test_a_file_that_somebody_else_has_put_there_is_refused(folder):
    # Given
    (folder / "mine").touch()
    (folder / "trap.active").symlink_to(folder / "mine")

    # Then
    with pytest.raises(OSError, match="symbolic links"):
        Candidate(str(folder / "trap"))


def test_candidates_need_the_standard_library_only():
    code = (
        "import sys; import autotask.companion.child;"
        "print([name for name in sys.modules if name.startswith(('django', 'psycopg', 'cronsim'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_when_the_file_of_the_lock_was_removed_the_lock_of_the_new_file_counts(folder):
    # Given one who stands by, and whoever comes after the file was removed
    late = Candidate(str(folder / "site"))
    (folder / "site.active").unlink()
    code = (
        "import sys; from autotask.companion.election import Candidate;"
        "candidate = Candidate(sys.argv[1]); candidate.wait_to_be_next(); candidate.wait_to_be_active(print);"
        "print('active', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder / "site")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"active\n"
        stands_by, active = threading.Event(), threading.Event()

        # When
        def wait():
            late.wait_to_be_next()
            late.wait_to_be_active(stands_by.set)
            active.set()

        threading.Thread(target=wait, daemon=True).start()

        # Then
        assert stands_by.wait(20)
        assert not active.is_set()
        other.stdin.close()
        assert active.wait(20)


def test_when_the_file_of_the_lock_cannot_be_made_again_the_lock_of_the_removed_one_counts(folder):
    # Given
    place = folder / "temporary"
    place.mkdir()
    candidate = Candidate(str(place / "site"))
    shutil.rmtree(place)

    # When
    waited = []
    candidate.wait_to_be_next()
    candidate.wait_to_be_active(lambda: waited.append(True))

    # Then
    assert not waited
    candidate.close()


def test_where_files_cannot_be_locked_the_companion_works_and_a_line_says_why(folder, monkeypatch, capfd):
    # Given a folder of a network without a service for locks
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_locks.fcntl, "lockf", refuse)
    monkeypatch.setenv("AUTOTASK_SERVES", "1")
    files = psutil.Process().num_fds()

    # When
    candidate = child._next_one(str(folder / "site"))

    # Then
    assert candidate is None
    assert psutil.Process().num_fds() == files
    assert "No locks available" in capfd.readouterr().err


def test_the_files_of_who_is_active_do_not_grow_old(folder, monkeypatch):
    # Given
    monkeypatch.setattr(election, "TOUCH_EVERY", 0.01)
    candidate = Candidate(str(folder / "site"))
    candidate.wait_to_be_next()
    candidate.wait_to_be_active(lambda: None)

    # When
    for file in folder.iterdir():
        os.utime(file, (0, 0))

    # Then
    wait_until(lambda: all(file.stat().st_mtime > 0 for file in folder.iterdir()))


def test_what_the_active_one_has_forked_does_not_hold_the_lock(folder):
    # Given a worker that has forked, and is gone
    code = (
        "import os, sys, time; from autotask.companion.election import Candidate;"
        "candidate = Candidate(sys.argv[1]); candidate.wait_to_be_next(); candidate.wait_to_be_active(print);"
        "child = os.fork();"
        "time.sleep(60) if child == 0 else open(sys.argv[2], 'w').write(str(child))"
    )
    path, note = str(folder / "site"), folder / "child"
    subprocess.run([sys.executable, "-c", code, path, str(note)], timeout=60, check=True)

    # When
    candidate = Candidate(path)
    candidate.wait_to_be_next()
    waited = []
    candidate.wait_to_be_active(lambda: waited.append(True))

    # Then
    assert not waited
    candidate.close()
    os.kill(int(note.read_text()), signal.SIGKILL)
