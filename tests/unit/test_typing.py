"""The types that users of autotask see, checked by mypy as they would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("typed_user.py")
ROOT = FILE.parent.parent.parent

#: A project of its own: not the configuration of this repository, and no plugin.
CONFIGURATION = """
[mypy]
python_version = {version}
strict = True
disallow_untyped_decorators = True
warn_unused_ignores = False
follow_untyped_imports = True
[mypy-autotask.*]
follow_imports = silent
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Return the lines that mypy refuses, each with the code of the error."""
    folder = tmp_path_factory.mktemp("mypy")
    configuration = folder / "mypy.ini"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    configuration.write_text(CONFIGURATION.format(version=version))
    command = [sys.executable, "-m", "mypy", f"--config-file={configuration}", f"--cache-dir={folder / 'cache'}",
               "--no-error-summary", "--hide-error-context", "--show-error-codes", "--no-pretty", str(FILE)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "No module named mypy" not in done.stderr, "the tests of types need mypy"
    assert done.stderr == ""
    found = re.findall(r"^\S*typed_user\.py:(\d+): error: (.*)  \[([\w-]+)\]$", done.stdout, re.M)
    assert len(found) == done.stdout.count(": error: "), done.stdout
    return {(int(line), code): message for line, message, code in found}


def expected():
    lines = enumerate(FILE.read_text(encoding="utf-8").splitlines(), 1)
    marked = ((number, re.search(r"  # error: ([\w-]+)$", line)) for number, line in lines)
    return {(number, match[1]) for number, match in marked if match}


def test_wrong_calls_are_type_errors_and_right_ones_have_the_type_of_their_result(refused):
    assert set(refused) == expected(), refused


def test_a_wrong_argument_is_named(refused):
    (line,) = [number for number, line in enumerate(FILE.read_text().splitlines(), 1) if line.startswith('add("a")')]
    assert 'has incompatible type "str"; expected "int"' in refused[line, "arg-type"]
