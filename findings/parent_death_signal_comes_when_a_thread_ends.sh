#!/bin/sh
# The parent that PR_SET_PDEATHSIG watches (Linux 6, Python 3.11 to 3.13, no packages).
#
# Belief: a process that has asked for a signal at the death of its parent, prctl(PR_SET_PDEATHSIG), gets it when the parent process
#   has died.
# Seen: it gets it when the thread that has started it ends, while the parent process goes on. A process that is started from a thread
#   of a pool, or by asyncio.to_thread(), is killed sooner or later for no visible reason. From the main thread all is well.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
python3 - <<'PYTHON'
import ctypes
import platform
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
children = []


def start():
    asks = lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    children.append(subprocess.Popen(["sleep", "60"], preexec_fn=asks))


def ends_within(child, seconds):
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


print("Linux", platform.release(), "Python", platform.python_version())
start()
thread = threading.Thread(target=start)
thread.start()
thread.join()
of_main, of_thread = children
seen = ends_within(of_thread, 10), ends_within(of_main, 2)
print("the child of a thread that has ended: believed to run; ended by signal", -seen[0] if seen[0] else None)
print("the child of the main thread:", "runs" if seen[1] is None else f"ended with {seen[1]}")
for child in children:
    child.kill()
    child.wait()
sys.exit(0 if seen == (-signal.SIGTERM, None) else 1)
PYTHON
