"""The programs that tests start."""

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers import wait_until
from tests.programs import Program

READY = "import signal, sys; {first}; print('ready', flush=True); sys.stdin.read(); sys.exit(3)"


@pytest.fixture
def start(tmp_path):
    """Start a program of Python, and return when it is ready."""

    def start(first="pass", **how):
        command = [sys.executable, "-c", READY.format(first=first)]
        program = Program(command, dict(os.environ), tmp_path, stdin=subprocess.PIPE, **how)
        wait_until(lambda: "ready" in program.output(), what="the first line")
        return program

    return start


def test_a_program_ends_with_its_input_and_can_be_started_again(start):
    program = start()
    assert program.finish() == 3
    again = program.again()
    assert again.pid != program.pid and again.log != program.log
    assert again.finish() == 3


def test_a_program_that_is_told_to_leave_leaves(start):
    assert start().stop() == -signal.SIGTERM


def test_a_program_that_does_not_leave_is_killed(start):
    program = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    with pytest.raises(subprocess.TimeoutExpired):
        program.stop(0.1)
    assert program.process.returncode == -signal.SIGKILL
