"""The module path that a process gives to the interpreters it starts for itself; standard library only."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

#: The folder that holds the package, for an interpreter that knows no installed packages.
_HOME = str(Path(__file__).resolve().parent.parent)


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which an interpreter finds the same modules as this process."""
    path = [entry or os.getcwd() for entry in sys.path]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join([*path, _HOME]),
        # For the programs that tasks may run, restore() puts this one back.
        "AUTOTASK_PYTHONPATH": environment.get("PYTHONPATH", ""),
    }


def restore() -> None:
    """Give the programs that this process starts the module path of the project again, not the one made for itself."""
    former = os.environ.pop("AUTOTASK_PYTHONPATH", "")
    if former:
        os.environ["PYTHONPATH"] = former
    else:
        os.environ.pop("PYTHONPATH", None)
