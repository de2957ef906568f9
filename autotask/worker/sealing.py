"""Open the arguments and seal the results of many attempts with settings that were read once."""

import pickle
from typing import Any

from autotask import payload, read_rows
from autotask.conf import settings
from autotask.envelopes import opening, result_signing
from autotask.exceptions import InvalidSetting, PayloadTooNew
from autotask.payload import Arguments
from autotask.pickling import LEAVES, PROTOCOL
from autotask.seals import current_secret
from autotask.task import ClaimedTask
from autotask.texts.lines import describe


class Sealing:
    """Does what :mod:`autotask.payload` does, in less time, as long as the settings are those that it has read.

    Whatever is not of the most frequent kind, or does not fit, goes the longer way, which reads the settings again: payloads
    that were signed with older keys, those that refer to model instances, and errors.
    """

    __slots__ = ("_largest", "_loads_all", "_secret", "_sign")

    def __init__(self) -> None:
        try:
            self._secret = current_secret()
            self._sign = result_signing(self._secret, False)
            self._loads_all = settings.PICKLE_ALLOWED is None
            self._largest = settings.MAX_PAYLOAD
        except InvalidSetting:  # The longer way says so, for each task.
            self._loads_all, self._largest = False, -1

    def opened(self, task: ClaimedTask) -> bytes | None:
        """Return the pickled arguments of a task; None if they go the longer way."""
        return opening(self._secret, task.name)(task.id.bytes, task.payload) if self._loads_all else None

    def load_arguments(self, task: ClaimedTask) -> Arguments:
        """Return the arguments of a task; see :func:`autotask.payload.load_arguments`."""
        return load_arguments(task) if (pickled := self.opened(task)) is None else loaded(task, pickled)

    def dump_result(self, task: ClaimedTask, value: Any) -> bytes | None:
        """Return the signed result of one attempt; see :func:`autotask.payload.dump_result`."""
        if value is None:
            return None
        if type(value) in LEAVES and len(body := pickle.dumps(value, PROTOCOL)) <= self._largest:
            return self._sign(task.id.bytes + task.fence.to_bytes(8, "big"), body)
        return dump_result(task, value)


def loaded(task: ClaimedTask, pickled: bytes) -> Arguments:
    """Return the arguments of a task from what :meth:`Sealing.opened` has returned."""
    try:
        arguments: Arguments = pickle.loads(pickled)
    except (ModuleNotFoundError, AttributeError) as error:
        reason = f"this code does not know its arguments: {describe(error)}"
        raise PayloadTooNew(id=task.id, reason=reason) from error
    return arguments


def load_arguments(task: ClaimedTask) -> Arguments:
    """Return the arguments of a task; raises as :func:`autotask.payload.load_arguments` does."""
    return payload.load_arguments(task.payload, id=task.id, name=task.name, row=read_rows.fresh(task.row))


def dump_result(task: ClaimedTask, value: Any) -> bytes | None:
    """Return the signed result of one attempt; raises as :func:`autotask.payload.dump_result` does."""
    return payload.dump_result(value, id=task.id, fence=task.fence, name=task.name)
