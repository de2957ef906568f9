"""How servers are told that give themselves away by a module of theirs, and which Python a companion is started with."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.test.client import ClientHandler

from autotask.companion import first_request, interpreter, servers


class Starts:
    """Counts how often it was called."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
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
