"""Have Python search for garbage less often while a call makes many objects that are none."""

import contextlib
import gc
import os
import threading
from collections.abc import Iterator

#: New objects after which Python searches, while many more are made that stay.
SELDOM = 100_000

#: Whether a thread has stopped the search.
_stopped = False

_changing = threading.Lock()
#: The number of threads for which the search is rare now, and the thresholds before the first of them.
_rare = 0
_usual = gc.get_threshold()


@contextlib.contextmanager
def no_search() -> Iterator[None]:
    """Keep Python from searching: it would do so after each few hundred of new objects. Only around code that waits for nobody."""
    global _stopped
    if not gc.isenabled():
        yield
        return
    _stopped = True
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _stopped = False


@contextlib.contextmanager
def rare_search() -> Iterator[None]:
    """Let Python search only after :data:`SELDOM` new objects: also around code of the project, which may make garbage."""
    _begin()
    try:
        yield
    finally:
        _end()


def _begin() -> None:
    global _rare, _usual
    with _changing:
        if not _rare:
            _usual = gc.get_threshold()
            if 0 < _usual[0] < SELDOM:
                gc.set_threshold(SELDOM)
        _rare += 1


def _end() -> None:
    global _rare
    with _changing:
        _rare -= 1
        if not _rare:
            _restore()


def _restore() -> None:
    # If the project has set others meanwhile, these stay.
    if gc.get_threshold()[0] == SELDOM:
        gc.set_threshold(*_usual)


def _renew_in_fork() -> None:
    # The threads that would undo it stay behind in the parent, and one may have held the lock.
    global _changing, _rare
    _changing = threading.Lock()
    if _rare:
        _rare = 0
        _restore()
    if _stopped:
        gc.enable()


os.register_at_fork(after_in_child=_renew_in_fork)
