"""The list of failures is whole, whatever fails while a failure is shown."""

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT, patient

TESTS = """
import enum

import pytest

class Causeless(Exception):
    @property
    def __context__(self):
        raise RuntimeError("no cause")

class Leaves:
    def __repr__(self):
        raise SystemExit(3)

def test_that_raises_what_cannot_be_shown():
    raise Causeless

def test_that_compares_what_cannot_be_shown():
    assert Leaves() == 3

def test_whose_message_cannot_be_sent():
    assert not "here", chr(0xd800) + "there"

def test_whose_property_cannot_be_sent(record_property):
    record_property("it", object())
    assert not "a property"

class Number(enum.IntEnum):
    ONE = 1

def test_whose_number_cannot_be_sent(record_property):
    record_property("number", Number.ONE)
    assert not "a number"

def test_that_fails():
    assert 1 == 2

def test_that_passes():
    pass

@pytest.fixture
def broken():
    yield
    raise LookupError("in the end")

def test_that_fails_in_its_end(broken):
    pass
"""

FAILED = """
FAILED test_it.py::test_that_raises_what_cannot_be_shown - <class 'test_it.Causeless'> cannot be shown; it came from
FAILED test_it.py::test_that_compares_what_cannot_be_shown - <class 'SystemExit'> cannot be shown; it came from
FAILED test_it.py::test_whose_message_cannot_be_sent - AssertionError: \\ud800there
FAILED test_it.py::test_whose_property_cannot_be_sent - AssertionError: assert not 'a property'
FAILED test_it.py::test_whose_number_cannot_be_sent - AssertionError: assert not 'a number'
FAILED test_it.py::test_that_fails - assert 1 == 2
ERROR in the teardown of test_it.py::test_that_fails_in_its_end - LookupError: in the end
"""

CONFTEST = """
def pytest_runtest_logreport(report):
    if report.when == "call":
        raise LookupError("of this hook")
"""


@pytest.fixture
def run(tmp_path):
    """Run tests with the plugin only, and return the exit status and the lines of the output."""

    def run(*words, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST"))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "tests.reporting", *words],
            # No other plugins: to import them takes longer than the tests.
            env={
                **environment,
                **{"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            },
            **{"cwd": tmp_path, "capture_output": True, "text": True, "timeout": patient(60)},
        )
        assert "INTERNALERROR" not in done.stdout, done.stdout
        return done.returncode, done.stdout.splitlines()

    return run


@pytest.mark.parametrize("processes", ["0", "1"])
def test_failures_are_written_as_they_happen_and_listed_at_the_end(run, processes):
    status, lines = run(f"--numprocesses={processes}", test_it=TESTS)
    end = lines.index("=========================== short test summary info ============================")
    assert status == 1
    assert set(FAILED.splitlines()[1:]) <= {line.replace("\ud800", "\\ud800") for line in lines[:end]}
    assert sum(line.startswith(("FAILED test_it.py", "ERROR test_it.py")) for line in lines[end:]) == 7
    assert "6 failed, 2 passed" in lines[-1] and "1 error" in lines[-1]


def test_a_hook_that_fails_hides_no_failure_and_is_one_itself(run):
    status, lines = run(conftest=CONFTEST, test_it="def test_a():\n    assert 0\n\ndef test_b():\n    pass")
    assert status == 1
    assert lines.count("LookupError: of this hook") == 2
    assert "FAILED test_it.py::test_a - assert 0" in lines


SILENT = """
import os

import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    if "PYTEST_XDIST_WORKER" in os.environ and report.failed:
        raise LookupError("instead of a report")
"""


def test_a_run_does_not_pass_if_nothing_is_heard_of_a_test(run):
    status, lines = run(
        "--numprocesses=1", conftest=SILENT, test_it="def test_a():\n    assert 0\n\ndef test_b():\n    pass"
    )
    assert status == 1
    assert "ERROR: nothing was heard of the call of test_it.py::test_a" in lines
    assert not any("test_b" in line for line in lines)


MAKING = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call):
    report = yield
    if call.when == "call":
        raise LookupError("of this hook")
    return report
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_report_that_cannot_be_made_of_a_test_that_passes_is_a_failure(run, processes):
    status, lines = run(f"--numprocesses={processes}", conftest=MAKING, test_it="def test_a():\n    pass")
    assert status == 1
    assert any(line.startswith("FAILED test_it.py::test_a - <class 'LookupError'> cannot be shown") for line in lines)
