"""The build of the interpreter: without optimizations, all Python code takes longer."""

import platform
import sys
import sysconfig

from autotask.doctor.diagnosis import Finding, Patient, fine

#: Options of CPython's ``configure`` that make it faster.
_OPTIMIZATIONS = ("--enable-optimizations", "--with-lto")

#: The folder with the interpreters of distributions. They are optimized, but in ways that ``configure`` did not see.
_OF_DISTRIBUTION = "/usr"


def look_at_build(patient: Patient) -> Finding:
    """Mention an interpreter that was built without optimizations; tasks run all the same."""
    named = f"{platform.python_implementation()} {platform.python_version()}"
    if optimizations() != "none":
        return fine(named)
    return fine(
        f"{named}, built without optimizations, as pyenv does by default: Python code takes 1.2 to 1.4 times as long as with a "
        "build of Debian, Docker or uv. With pyenv: "
        "PYTHON_CONFIGURE_OPTS='--enable-optimizations --with-lto' pyenv install --force VERSION"
    )


def optimizations() -> str:
    """Return with which optimizations this interpreter was configured; "none", "its distribution's" or "unknown"."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS")
    if platform.python_implementation() != "CPython" or arguments is None:
        return "unknown"
    found = [option for option in _OPTIMIZATIONS if option in arguments]
    if not found and sys.base_prefix == _OF_DISTRIBUTION:
        return "its distribution's"
    return " ".join(found) or "none"
