"""What interpreters that a process starts for itself are given: its module path, and no other folder."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

#: Starts an interpreter as workers are started, and prints what it prints.
PARENT = """
import os, subprocess, sys
sys.path.append(sys.argv[1])
from autotask.processes import module_path
subprocess.run(
    [sys.executable, *module_path.options(), "-m", "looking"], env=module_path.handed_on(os.environ), check=True
)
"""

LOOKING = """
import json, os, sys
import argparse, tomllib
print(json.dumps({
    "imported": [argparse.__file__, tomllib.__file__],
    "path": sys.path,
    "flags": {name: getattr(sys.flags, name) for name in ("optimize", "no_user_site", "safe_path", "no_site")},
    "warnings": sys.warnoptions,
    "variables": [name for name in os.environ if name.startswith("PYTHON")],
}))
"""


@pytest.fixture
def look(tmp_path):
    """Start a parent in a folder with modules of other people, and return what its child sees."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "looking.py").write_text(LOOKING)
    for name in ("argparse", "tomllib"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "home" / "parent.py").write_text(PARENT)

    def start(*options: str, path: str = "", **environment: str):
        command = [sys.executable, *options, "home/parent.py", str(ROOT)]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **environment},
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    start.folder = tmp_path
    return start


def test_nothing_is_imported_from_the_current_folder(look):
    seen = look()
    assert not any(file.startswith(f"{look.folder}/tomllib") for file in seen["imported"])
    assert str(look.folder) not in seen["path"]
    assert seen["flags"]["safe_path"]


def test_the_current_folder_is_kept_where_the_parent_has_it_itself(look):
    seen = look(path=":" + str(look.folder / "home"))
    assert seen["imported"] == [str(look.folder / "argparse.py"), str(look.folder / "tomllib.py")]
    assert "" not in seen["path"]


def test_relative_entries_are_handed_on_as_absolute_ones(look):
    assert str(look.folder / "home" / "inner") in look(path="home/inner")["path"]


@pytest.mark.parametrize("entry", ["None", "b'/srv'", "pathlib.Path('/srv')"])
def test_entries_that_are_no_text_are_left_out_as_python_does(look, entry):
    parent = look.folder / "home" / "parent.py"
    parent.write_text(f"import pathlib, sys; sys.path.append({entry})\n" + PARENT)
    seen = look()
    assert "/srv" not in seen["path"] and str(ROOT) in seen["path"]


def test_a_parent_that_ignores_the_environment_has_children_that_do(look):
    # As a file is started, its folder is not looked in either
    (look.folder / "home" / "parent.py").write_text(
        f"import sys; sys.path.append({str(look.folder / 'home')!r})\n" + PARENT
    )
    seen = look("-I", path=str(look.folder), PYTHONWARNINGS="error", PYTHONOPTIMIZE="2")
    assert str(look.folder) not in seen["path"]
    assert seen["flags"] == {"optimize": 0, "no_user_site": 1, "safe_path": True, "no_site": 0}
    assert seen["warnings"] == []
    assert seen["variables"] == ["PYTHONPATH"]


def test_options_of_the_parent_are_those_of_its_children(look):
    seen = look("-O", "-s", "-W", "error::BytesWarning")
    assert seen["flags"] == {"optimize": 1, "no_user_site": 1, "safe_path": True, "no_site": 0}
    assert seen["warnings"] == ["error::BytesWarning"]
