"""A setting that cannot be had in another process."""

import os


class Unloadable:
    """Can be pickled, and unpickled by who has pickled it."""

    def __reduce__(self):
        return _only_here, (os.getpid(),)


def _only_here(pid: int) -> Unloadable:
    if pid != os.getpid():
        raise ValueError("not in another process")
    return Unloadable()
