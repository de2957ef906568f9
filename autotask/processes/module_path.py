"""What a process gives to the interpreters it starts for itself, so that they import what it does; standard library only."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: The folder that holds the package, for an interpreter that knows no installed packages.
_HOME = str(Path(__file__).resolve().parents[2])


def options() -> list[str]:
    """Return the options of an interpreter that is to import what this one does, for use with :func:`handed_on`.

    ``-P`` is always among them: the module path is handed on as a whole, and with ``-m`` an interpreter would put the current
    folder before it, which may be one where others can write.
    """
    # What is left out would make it deaf to PYTHONPATH; -s and -P are what else -I means.
    own = [option for option in interpreter_options() if option not in ("-I", "-E", "-P")]
    return ["-P", *(["-s"] if sys.flags.isolated else []), *own]


def interpreter_options() -> list[str]:
    """Return the options with which this interpreter was started, as far as they concern its children."""
    return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # used by multiprocessing, too


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which an interpreter finds the same modules as this process."""
    heeded = environment
    if sys.flags.ignore_environment:
        heeded = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
    return {
        **heeded,
        "PYTHONPATH": os.pathsep.join([*entries(), _HOME]),
        # For the programs that tasks may run, restore() puts this one back.
        "AUTOTASK_PYTHONPATH": environment.get("PYTHONPATH", ""),
    }


def entries() -> Iterator[str]:
    """Yield the folders and archives in which this process looks for modules, as absolute paths."""
    for entry in filter(_is_text, sys.path):
        try:
            yield os.path.abspath(entry)
        except OSError:
            continue  # It is relative to a current folder that is deleted.


def _is_text(entry: object) -> bool:
    # From other entries, such as an instance of Path, Python imports nothing.
    return isinstance(entry, str)


def restore() -> None:
    """Give the programs that this process starts the module path of the project again, not the one made for itself."""
    former = os.environ.pop("AUTOTASK_PYTHONPATH", "")
    if former:
        os.environ["PYTHONPATH"] = former
    else:
        os.environ.pop("PYTHONPATH", None)
