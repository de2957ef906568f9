"""Open the arguments and seal the results of many attempts with settings that were read once."""

import pickle
import uuid
from typing import Any

from autotask import payload
from autotask.conf import settings
from autotask.envelopes import opening, result_signing
from autotask.exceptions import InvalidSetting, PayloadTooNew
from autotask.payload import Arguments
from autotask.pickling import LEAVES, PROTOCOL
from autotask.seals import current_secret
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

    def load_arguments(self, envelope: bytes, *, id: uuid.UUID, name: str) -> Arguments:
        """Return the arguments of a task; see :func:`autotask.payload.load_arguments`."""
        if not self._loads_all or (body := opening(self._secret, name)(id.bytes, envelope)) is None:
            return payload.load_arguments(envelope, id=id, name=name)
        try:
            arguments: Arguments = pickle.loads(body)
        except (ModuleNotFoundError, AttributeError) as error:
            raise PayloadTooNew(id=id, reason=f"this code does not know its arguments: {describe(error)}") from error
        return arguments

    def dump_result(self, value: Any, *, id: uuid.UUID, fence: int, name: str) -> bytes | None:
        """Return the signed result of one attempt; see :func:`autotask.payload.dump_result`."""
        if value is None:
            return None
        if type(value) in LEAVES and len(body := pickle.dumps(value, PROTOCOL)) <= self._largest:
            return self._sign(id.bytes + fence.to_bytes(8, "big"), body)
        return payload.dump_result(value, id=id, fence=fence, name=name)
