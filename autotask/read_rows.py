"""Rows that the statement which claims their tasks has read: their values go along, so that the worker need not fetch them."""

import pickle
import time
from collections.abc import Sequence
from typing import Any

from autotask.pickling import LEAVES, PROTOCOL

#: Seconds after which a row is fetched again: its task has waited, for a lock or a thread, and others may have changed it.
FRESH = 0.02


def pack(values: Sequence[Any], read_at: float) -> bytes:
    """Return the values of a row as bytes; empty if one of them is of an unusual type.

    :param read_at: before they were read, on the monotonic clock, which all processes of a machine share.
    """
    return pickle.dumps((read_at, tuple(values)), PROTOCOL) if LEAVES.issuperset(map(type, values)) else b""


def fresh(packed: bytes) -> tuple[Any, ...] | None:
    """Return the values of a row; None: there are none, or they were read too long ago.

    :param packed: by the process that this worker serves: it is unpickled, and not signed.
    """
    if not packed:
        return None
    read_at, values = pickle.loads(packed)
    return values if time.monotonic() - read_at <= FRESH else None
