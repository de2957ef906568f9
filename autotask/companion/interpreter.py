"""The Python interpreter that companions are started with."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator


def path() -> str:
    """Return the path of the interpreter whose modules this process uses.

    Usually that is this process's own. A server that embeds Python, such as uWSGI or Apache, reports its own name instead.

    :raises FileNotFoundError: there is none.
    """
    if sys.executable and os.path.basename(sys.executable).startswith(("python", "pypy")):
        return sys.executable
    for candidate in _candidates():
        if os.access(candidate, os.X_OK):
            return candidate
    raise FileNotFoundError("the Python interpreter, which is neither in sys.prefix nor on the PATH")


def _candidates() -> Iterator[str]:
    name = f"python{sysconfig.get_python_version()}"
    for folder in (
        os.path.join(sys.prefix, "bin"),
        sysconfig.get_config_var("BINDIR") or "",
        os.path.join(sys.base_prefix, "bin"),
    ):
        yield os.path.join(folder, name)
    yield shutil.which(name) or ""
