"""The process of a worker ends in time and with its own status, whatever functions of atexit and its streams do."""

import itertools
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, os, sys, time
from autotask.worker import ending
ending.HOOKS_WITHIN = ending.LEFT_BEHIND_WITHIN = 0.2
{before}
{end}
"""

BEFORE = {
    "nothing": "",
    "a function that blocks": "atexit.register(time.sleep, 60)",
    "a function that raises": "atexit.register(sys.exit, 9)",
    "a stream that is closed": "sys.stdout.close()",
    "a stream that nobody reads": "reader, writer = os.pipe(); os.close(reader); sys.stdout = open(writer, 'w'); print('x')",
}

ENDS = {
    "now": "ending.now(3)",
    "begin": "ending.begin(3); sys.exit(3)",
    "stall": """
from autotask.wakeup import Wakeup
from autotask.worker.stall import StallWatch
try:
    StallWatch(Wakeup(), lambda over: None, lambda: 3)._leave(1.0)
finally:
    os._exit(5)
""",
}


#: Python itself ends with status 120 where it cannot write what is left.
NOT_OURS = ("a stream that nobody reads", "begin")


@pytest.mark.parametrize(("before", "end"), [case for case in itertools.product(BEFORE, ENDS) if case != NOT_OURS])
def test_a_worker_ends_in_time_with_its_own_status(before, end):
    script = SCRIPT.format(before=BEFORE[before], end=ENDS[end])
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert process.returncode == 3, process.stderr
