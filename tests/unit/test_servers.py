"""How servers are told that give themselves away by a module of theirs, and which Python a companion is started with."""

import errno
import importlib
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.test.client import ClientHandler

from autotask.companion import first_request, interpreter, servers, shortage, starter
from tests.helpers import ROOT


class Starts:
    """Counts how often it was called."""

    def __init__(self):
        self.count = 0

    def __call__(self, *, has_siblings=False):
        self.count += 1
        self.has_siblings = has_siblings
        return True


@pytest.fixture
def start():
    return Starts()


@pytest.fixture
def uwsgi(monkeypatch):
    """What a process of uWSGI finds as its module of that name."""
    module = SimpleNamespace(worker_id=lambda: 0, version_info=(2, 0, 30, 0, ""), opt={})
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


def test_apache_is_told_from_the_package_that_is_named_like_its_module(monkeypatch, start):
    monkeypatch.setitem(sys.modules, "mod_wsgi", SimpleNamespace(__path__=["site-packages/mod_wsgi"]))
    assert not servers.mod_wsgi((), start)

    monkeypatch.setitem(
        sys.modules, "mod_wsgi", SimpleNamespace(process_group="", application_group="", version=(5, 0))
    )
    assert servers.mod_wsgi((), start)
    assert start.count == 1


def test_a_server_that_is_merely_imported_is_none(start):
    running = {"gunicorn.config", "uvicorn.config", "hypercorn.run", "hypercorn.utils", "granian", "shop.wsgi"}
    assert not any(server(running, start) for server in servers.SERVERS)


def test_under_uwsgi_a_worker_starts_its_companion_after_the_fork_and_other_hooks_are_called_too(uwsgi, start):
    # Given
    other = uwsgi.post_fork_hook = Starts()

    # When the master has loaded the application, and forks
    assert servers.uwsgi((), start)
    assert start.count == 0
    uwsgi.post_fork_hook()  # a mule
    assert (other.count, start.count) == (1, 0)
    uwsgi.worker_id = lambda: 2
    uwsgi.post_fork_hook()

    # Then
    assert (other.count, start.count) == (2, 1)
    request_started.send(WSGIHandler)  # takes away what waits for it


@pytest.mark.parametrize(
    ("version", "options", "warns"),
    [
        ((2, 0, 21), {}, True),
        ((2, 0, 26), {"master": True}, True),
        ((2, 0, 26), {"enable-threads": True}, False),
        ((2, 0, 26), {"threads": b"2"}, False),
        ((2, 0, 27), {}, False),
        ((2, 1, 0), {}, False),
    ],
)
def test_a_uwsgi_without_threads_is_told_how_to_have_them(uwsgi, start, caplog, version, options, warns):
    uwsgi.version_info, uwsgi.opt, uwsgi.worker_id = (*version, 0, ""), options, lambda: 1

    assert servers.uwsgi((), start)

    assert start.count == 1
    assert ("enable-threads = true" in caplog.text) == warns


def test_the_first_request_of_a_server_counts_and_that_of_a_test_does_not(start):
    first_request.call(start)

    request_started.send(ClientHandler)
    assert start.count == 0

    request_started.send(None)  # by somebody who is no server
    assert start.count == 0

    request_started.send(WSGIHandler)
    request_started.send(WSGIHandler)
    assert start.count == 1


def test_a_server_with_python_inside_uses_the_python_beside_its_modules(monkeypatch):
    for name in ("/usr/sbin/apache2", "/usr/bin/uwsgi", ""):
        monkeypatch.setattr(sys, "executable", name)
        found = interpreter.path()
        assert os.path.isfile(found)
        version = subprocess.check_output([found, "-c", "import sys; print(sys.version_info[:2])"], text=True)
        assert version.strip() == str(sys.version_info[:2])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters with a lock of their own come with Python 3.12")
def test_sub_interpreters_with_a_lock_of_their_own_refuse_daemon_threads_and_others_do_not():
    code = (
        "import importlib, sys; sys.path.append({path!r});"
        "from autotask.companion.shortage import daemon_threads_are_refused;"
        "assert daemon_threads_are_refused() is {expected}"
    )
    if sys.version_info < (3, 13):
        interpreters = importlib.import_module("_xxsubinterpreters")
        makers = {True: lambda: interpreters.create(isolated=True), False: lambda: interpreters.create(isolated=False)}
        run = interpreters.run_string
    else:
        interpreters = importlib.import_module("_interpreters")
        makers = {True: lambda: interpreters.create("isolated"), False: lambda: interpreters.create("legacy")}
        run = interpreters.exec

    for expected, make in makers.items():
        interpreter = make()
        try:
            assert run(interpreter, code.format(path=str(ROOT), expected=expected)) is None
        finally:
            interpreters.destroy(interpreter)
    assert not shortage.daemon_threads_are_refused()


@pytest.fixture
def no_daemons(monkeypatch, settings):
    """A process that serves in a sub-interpreter without daemon threads."""
    for name in ("AUTOTASK_GUARD", "AUTOTASK_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(starter, "daemon_threads_are_refused", lambda: True)
    settings.AUTOTASK_COMPANION = "process"
    settings.AUTOTASK_IS_ACTIVE = True


def test_where_daemon_threads_are_refused_one_line_says_what_to_do_and_nothing_is_tried_again(
    no_daemons, caplog, monkeypatch
):
    again = Starts()
    monkeypatch.setattr(first_request, "call", again)

    assert starter._start_or_try_again() is False

    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.ERROR, None)
    assert "WSGIApplicationGroup %{GLOBAL}" in record.getMessage()
    assert again.count == 0


def test_where_no_companion_is_wanted_nothing_is_said(no_daemons, caplog, settings):
    settings.AUTOTASK_COMPANION = "off"
    assert starter._start_or_try_again() is False
    assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "is_shortage"),
    [
        (RuntimeError("can't start new thread"), True),
        (MemoryError(), True),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (RuntimeError("something else"), False),
    ],
)
def test_a_shortage_is_told_from_other_errors(error, is_shortage):
    assert shortage.is_shortage(error) is is_shortage
