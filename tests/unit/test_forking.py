"""Forks: when a process must not be forked, and what a fork has of its parent."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")


def run(script: str) -> list[str]:
    """Run a program, which uses no project; return the lines that it prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


OBSTACLES = """
import asyncio, socket, threading
from autotask.processes import forking
sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
print(forking.obstacle() or "none")
pair = socket.socketpair()
print(forking.obstacle())
for end in pair:
    end.close()
loop = asyncio.new_event_loop()
print(forking.obstacle())
loop.close()
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
print(forking.obstacle())
stop.set()
thread.join()
forking.sys.platform = "darwin"
print(forking.obstacle())
"""


def test_threads_connections_event_loops_and_other_systems_forbid_forks():
    none, connection, loop, threads, system = run(OBSTACLES)
    assert none == "none"
    assert connection == loop == "something that the project imports has opened a connection, or an event loop"
    assert threads.startswith("something that the project imports has started threads (")
    assert system.startswith("forks are not safe on darwin")


#: What the fork finds is written to a pipe, since its end must not be seen in what the program prints.
FORK = """
import os, random, signal, sys, tempfile
from autotask.processes.forking import fork
from autotask.worker import ending

signal.signal(signal.SIGTERM, lambda *_: None)
reader, writer = os.pipe()
signal.set_wakeup_fd(os.open(os.devnull, os.O_WRONLY | os.O_NONBLOCK))
folder = tempfile.TemporaryDirectory()
random.seed(1)
print("buffered")

def work():
    here = (
        os.getpgid(0) == os.getpid(),
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        signal.set_wakeup_fd(-1) == -1,
        signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask,
        os.read(0, 1) == b"",
        random.random() not in known,
    )
    os.write(writer, repr(here).encode())
    ending.like_a_program(7)

mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
known = [random.Random(1).random()]
try:
    child = fork(work)
    assert child.wait() == 7 == child.poll()
finally:
    print("end of the program")
print(os.read(reader, 1000).decode())
print(os.path.isdir(folder.name), signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask)
child.kill()
child = fork(lambda: 1 / 0)
print(child.wait())
"""


def test_a_fork_has_nothing_that_belongs_to_the_program_of_its_parent():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == [
        "buffered",
        "end of the program",
        "(True, True, True, True, True, True)",
        "True True",
        "1",
    ]
    assert "ZeroDivisionError" in done.stderr


SIGNALS = """
import os, signal, time
from autotask.processes.forking import fork
caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
statuses = []
for _ in range(20):
    child = fork(lambda: time.sleep(60))
    child.terminate()
    statuses.append(child.wait())
print(set(statuses), caught)
"""


def test_a_signal_that_comes_before_the_fork_has_begun_ends_it():
    assert run(SIGNALS) == ["{-15} []"]


IGNORED = """
import os, signal
from autotask.processes.forking import fork
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
child = fork(lambda: os._exit(3))
print(child.wait(), child.poll())
child.terminate()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
child = fork(lambda: os._exit(3))
os.waitpid(-1, 0)
print(child.poll())
"""


def test_the_end_of_a_fork_that_the_system_or_somebody_else_has_noted_is_no_error():
    assert run(IGNORED) == ["0 0", "0"]
