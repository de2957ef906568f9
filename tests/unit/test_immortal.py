"""Objects without a count of references, in processes of their own."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

PROGRAM = """
import ctypes
import json
import sys
import weakref
from autotask.processes import immortal

class Class:
    pass

def function():
    return "a constant of the function", ("in", "a tuple")

def written():
    return [ctypes.c_ssize_t.from_address(id(part)).value for part in parts]

instance = Class()
weakref.finalize(instance, print, "an instance is freed")
immortal.make_program_immortal()
parts = [function, function.__code__, *function.__code__.co_consts[1:], Class, json, json.dumps]
before = written()
references = parts * 3
print(before == written())
del instance
"""


@pytest.mark.parametrize("end", ["", "del Class, function, json, parts, references; import gc; gc.collect()"])
def test_no_reference_to_the_program_is_counted_where_python_has_immortal_objects(end):
    done = subprocess.run([sys.executable, "-c", PROGRAM + end], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(sys.version_info >= (3, 12)), "an instance is freed"]
