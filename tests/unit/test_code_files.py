"""Whether files of modules have changed since they were imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

SCRIPT = """
import sys
from autotask.processes.code_files import CodeFiles
import shop
files = CodeFiles()
for line in sys.stdin:
    print(files.changed() or "nothing", flush=True)
"""


@pytest.fixture
def shop(tmp_path) -> Path:
    """A module, which is in place before it is imported."""
    path = tmp_path / "shop.py"
    path.write_text("PRICE = 1\n")
    return path


@pytest.fixture
def changed(shop):
    """Ask a process that has imported the module which file has changed."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(shop.parent), os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask() -> str:
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield ask
        process.stdin.close()


def test_a_module_whose_file_is_as_it_was_has_not_changed(shop, changed):
    assert changed() == "nothing"


def test_a_file_that_is_written_replaced_or_removed_has_changed(shop, changed, tmp_path):
    # Given
    assert changed() == "nothing"
    before = shop.stat()

    # When an older version is put in its place, as in a rollback
    old = tmp_path / "old.py"
    old.write_text("PRICE = 1\n")
    os.utime(old, ns=(before.st_atime_ns - 10**12, before.st_mtime_ns - 10**12))
    old.replace(shop)

    # Then
    assert changed() == str(shop)

    # When
    shop.unlink()

    # Then
    assert changed() == str(shop)
