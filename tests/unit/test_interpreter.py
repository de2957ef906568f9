"""What the doctor says about the build of the interpreter."""

import platform
import sys
import sysconfig

import pytest

from autotask.doctor import interpreter
from autotask.doctor.diagnosis import Patient, Verdict


@pytest.fixture
def built(monkeypatch):
    """Set how this interpreter was configured, where it is, and what it is."""

    def set_build(arguments, prefix="/opt/python", implementation="CPython"):
        monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": arguments}.get)
        monkeypatch.setattr(sys, "base_prefix", prefix)
        monkeypatch.setattr(platform, "python_implementation", lambda: implementation)
        return interpreter.look_at_build(Patient())

    return set_build


def test_an_interpreter_without_optimizations_is_mentioned_and_no_problem(built):
    found = built("'--prefix=/opt/python' '--enable-shared'")
    assert (found.verdict, found.fix) == (Verdict.OK, "")
    assert found.text.startswith(f"CPython {platform.python_version()}, built without optimizations")
    assert "\n" not in found.text


@pytest.mark.parametrize(
    ("arguments", "prefix", "implementation", "named"),
    [
        ("'--enable-optimizations' '--with-lto'", "/opt/python", "CPython", "--enable-optimizations --with-lto"),
        ("'--enable-optimizations'", "/usr/local", "CPython", "--enable-optimizations"),
        ("'--with-lto=full'", "/opt/python", "CPython", "--with-lto"),
        ("'--enable-shared' '--prefix=/usr'", "/usr", "CPython", "its distribution's"),
        (None, "C:\\Python", "CPython", "unknown"),
        ("", "/opt/pypy", "PyPy", "unknown"),
    ],
)
def test_others_are_named_only(built, arguments, prefix, implementation, named):
    assert built(arguments, prefix, implementation).text == f"{implementation} {platform.python_version()}"
    assert interpreter.optimizations() == named
