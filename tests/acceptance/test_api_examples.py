"""The examples of the page about the HTTP API run on a real server: curl, Python and JavaScript."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from autotask.store.connection import rows
from tests.acceptance.test_api import Api
from tests.documents import ROOT, blocks

PAGE = ROOT / "docs" / "howto" / "http_api.rst"

#: How a block is run, by its language, and what that needs.
RUN = {
    "bash": (["bash", "-euo", "pipefail", "-c"], shutil.which("curl")),
    "python": ([sys.executable, "-c"], find_spec("requests")),
    "javascript": (["node", "--input-type=module", "-e"], shutil.which("node")),
}


@pytest.fixture
def reports(site):
    """A server with the task of the page, and a key."""
    [tasks] = [block for block in blocks(PAGE) if block.file == "shop/tasks.py"]
    site.app("shop", tasks=tasks.text)
    server = site.gunicorn()
    return server, Api(site, server).key


def examples():
    return [block for block in blocks(PAGE) if block.language in RUN and block.file is None]


@pytest.mark.parametrize("block", examples(), ids=lambda block: f"{block.language}{block.line}")
def test_an_example_of_the_page_runs(site, reports, block):
    # Given
    command, is_there = RUN[block.language]
    if not is_there:
        pytest.skip(f"what runs {block.language} is not installed")
    server, key = reports

    # When
    done = subprocess.run(
        [*command, block.text.replace("https://shop.example/", server.url)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=site.folder,
        env={**os.environ, "KEY": key, "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))},
    )

    # Then
    assert done.returncode == 0, done.stdout + done.stderr
    [(count,)] = rows(
        site.database,
        "SELECT (SELECT count(*) FROM autotask_live WHERE name = 'make_report')"
        " + (SELECT count(*) FROM autotask_result WHERE name = 'make_report')",
    )
    assert count == 1
    if "Idempotency" not in block.text:
        assert "done" in done.stdout and "The report of 2026 is ready" in done.stdout
