"""Arguments and results as signed pickles; anything unsigned is refused.

Both are in envelopes, see :mod:`autotask.envelopes`, and sealed for one task or attempt, see :mod:`autotask.seals`: only
payloads that were signed with a key of this site are unpickled.
"""

import functools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from autotask import pickling
from autotask.conf import settings
from autotask.envelopes import (
    BODY,
    CARRIES,
    CARRYING,
    FLAGS,
    HEAD,
    PLAIN,
    REFERRING,
    TASK,
    TELLING,
    TELLS,
    begin,
    carried_words,
    contents,
    opening,
    result_signing,
    signing,
)
from autotask.exceptions import PayloadTooLarge, PayloadTooNew
from autotask.references import Reference
from autotask.seals import current_secret, opened, reseal, result_context, seal, step_context, task_context, verify
from autotask.setting_types import LARGEST_PAYLOAD
from autotask.signing import key_of
from autotask.texts.lines import describe
from autotask.unpicklable import unpicklable, unpicklable_result

#: Among the values of carriers, whose names are paths: the subject and the metadata of the call.
ABOUT = ""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def dump_arguments(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    id: uuid.UUID,
    name: str,
    carried: Mapping[str, Any] | None = None,
    largest: bool = False,
    tells: bool = False,
) -> bytes:
    """Return the signed arguments of one task.

    :param carried: the values of carriers, by their paths.
    :param largest: whether they may have as many bytes as ``AUTOTASK_MAX_PAYLOAD`` can allow at most.
    :param tells: whether somebody should be notified of the end of the task.
    :raises UnpicklableArgument: an argument cannot be pickled, or is an unsaved model instance or a queryset; the message
        names it.
    :raises PayloadTooLarge: they take more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
    """
    made = signer(name, carried, tells=tells)
    return made.dump(args, kwargs, id, LARGEST_PAYLOAD if largest else settings.MAX_PAYLOAD)


class Signer:
    """Signs the arguments of the calls of one task, with what they have in common worked out once.

    :param name: the name of the task.
    :param carried: see :func:`dump_arguments`.
    :param tells: see :func:`dump_arguments`.
    :ivar overhead: the bytes that count as arguments besides the pickle.
    """

    def __init__(self, secret: str | bytes, name: str, carried: Mapping[str, Any] | None, tells: bool) -> None:
        self._name = name
        words = _words(carried) if carried else b""
        self.overhead = len(words)
        key, after = key_of(secret), name.encode()
        self._signing: list[Callable[[bytes, bytes], bytes]] = []
        for head in CARRYING if carried else (PLAIN, REFERRING):
            begun = begin(key, TELLING[head] if tells else head, TASK, 16 + len(after))
            self._signing.append(signing(begun, after, words))

    def dump(self, args: tuple[Any, ...], kwargs: dict[str, Any], id: uuid.UUID, most: int) -> bytes:
        """Return the signed arguments of one task.

        :param most: the most bytes that they may take.
        :raises UnpicklableArgument: see :func:`dump_arguments`.
        :raises PayloadTooLarge: see :func:`dump_arguments`.
        """
        has_parts = pickling.has_parts(args) or (bool(kwargs) and pickling.has_parts(kwargs.values()))
        try:
            body, refers = pickling.dumps((args, kwargs), has_parts=has_parts)
        except Exception as error:  # whatever a __reduce__ or __getstate__ raises
            raise unpicklable(args, kwargs, self._name, error) from error
        _refuse_large(self.overhead + len(body), "arguments", self._name, most)
        return self._signing[refers](id.bytes, body)

    def prepared(self, *, refers: bool = False) -> Callable[[bytes, bytes], bytes]:
        """Return the function that returns the envelope of the arguments of a task, from its id and the pickle of them.

        :param refers: whether they refer to model instances.
        """
        return self._signing[refers]


def signer(name: str, carried: Mapping[str, Any] | None = None, *, tells: bool = False) -> Signer:
    """Return the function that signs the arguments of a task's calls now; see :func:`dump_arguments` for the parameters."""
    secret = current_secret()
    return Signer(secret, name, carried, tells) if carried else _plain_signer(secret, name, tells)


@functools.lru_cache(maxsize=256)
def _plain_signer(secret: str | bytes, name: str, tells: bool) -> Signer:
    return Signer(secret, name, None, tells)


def _words(carried: Mapping[str, Any]) -> bytes:
    words = json.dumps(carried, separators=(",", ":")).encode()
    return len(words).to_bytes(4, "big") + words


def dump_references(references: Iterable[tuple[uuid.UUID, Reference]], *, name: str) -> list[bytes]:
    """Return the signed arguments of tasks whose only argument is a saved model instance; quicker than :func:`dump_arguments`.

    :param references: the ids of the tasks, with the instances.
    """
    sign = signer(name).prepared(refers=True)
    return [sign(id.bytes, pickling.dumps_only(refers)) for id, refers in references]


def load_arguments(envelope: bytes, *, id: uuid.UUID, name: str, row: Sequence[Any] | None = None) -> Arguments:
    """Return the arguments of a task.

    :param row: as for :func:`autotask.references.fetch`.
    :raises PayloadTooNew: they have a form or a class that this code does not know; newer code may.
    :raises PayloadRefused: they are not signed for this task with a key of this site.
    :raises ObjectGone: a model instance among them is no longer in the database.
    :raises django.db.Error: the database could not be queried for instances.
    :raises Exception: whatever else unpickling raises.
    """
    # As nearly always. All other envelopes, and the refusal of wrong ones, take a longer way.
    envelope = bytes(envelope)
    body, refers = opening(current_secret(), name)(id.bytes, envelope), False
    if body is None:
        body, refers = opened(envelope, task_context(id, name), id)
    try:
        args, kwargs = pickling.loads(body, refers, row)
    except (ModuleNotFoundError, AttributeError) as error:  # raised by pickle if there is no such module or class
        raise PayloadTooNew(id=id, reason=f"this code does not know its arguments: {describe(error)}") from error
    return args, kwargs


def load_enclosed(envelope: bytes) -> Arguments:
    """Return the arguments of a task from an envelope inside another one, whose signature covers it."""
    args, kwargs = pickling.loads(*contents(envelope))
    return args, kwargs


def carries(envelope: bytes) -> bool:
    """Whether an envelope has values of carriers, by its own flags, which are not verified."""
    return len(envelope) > FLAGS and bool(envelope[FLAGS] & CARRIES)


def some_tell(envelopes: Iterable[bytes]) -> bool:
    """Whether somebody should be notified of the end of one of these tasks, by the flags of envelopes, which are not verified."""
    try:
        for envelope in envelopes:  # not any(), which takes twice as long: this runs for each task
            if envelope[FLAGS] & TELLS:
                return True
    except IndexError:  # One was cut off. Nobody knows.
        return True
    return False


def load_carried(envelope: bytes, *, id: uuid.UUID, name: str) -> dict[str, Any]:
    """Return the values of carriers at the call of a task, by the paths of the carriers, without subject and metadata.

    :raises PayloadTooNew: they are in a form that this version does not know.
    :raises PayloadRefused: they are not signed for this task with a key of this site.
    """
    envelope = bytes(envelope)
    verify(envelope, task_context(id, name), id)
    words = carried_words(envelope)
    words.pop(ABOUT, None)
    return words


def about(envelope: bytes) -> tuple[str | None, dict[str, Any]]:
    """Return the subject and the metadata of a call, from an envelope that was verified already."""
    subject, metadata = carried_words(bytes(envelope)).get(ABOUT, (None, None)) if carries(envelope) else (None, None)
    return subject, metadata or {}


def verify_arguments(envelope: bytes, *, id: uuid.UUID, name: str) -> None:
    """Make sure that the arguments were signed for a task of this id and name, without unpickling them.

    :raises PayloadTooNew: they are in a form that this version does not know.
    :raises PayloadRefused: they are not signed for this task with a key of this site.
    """
    opened(envelope, task_context(id, name), id)


def dump_result(value: Any, *, id: uuid.UUID, fence: int, name: str) -> bytes | None:
    """Return the signed result of one attempt; None for None.

    :raises UnpicklableResult: it cannot be pickled.
    :raises PayloadTooLarge: it takes more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
    """
    if value is None:
        return None
    body, refers = _pickled(value, name)
    return result_signing(current_secret(), refers)(id.bytes + fence.to_bytes(8, "big"), body)


def load_result(envelope: bytes | None, *, id: uuid.UUID, fence: int) -> Any:
    """Return the result of an attempt.

    :raises PayloadRefused: it is not signed for this attempt with a key of this site.
    :raises Exception: whatever unpickling raises, for example ImportError for a class that is gone.
    """
    if envelope is None:
        return None
    return pickling.loads(*opened(envelope, result_context(id, fence), id))


def verify_result(envelope: bytes, *, id: uuid.UUID, fence: int) -> None:
    """Make sure that a result was signed for this attempt, without unpickling it.

    :raises PayloadRefused: it is not signed for this attempt with a key of this site.
    """
    verify(envelope, result_context(id, fence), id)


def dump_step(value: Any, *, id: uuid.UUID, step: str, name: str) -> bytes | None:
    """Return the signed value of a step of a task; None for None.

    :param step: which one, see :func:`autotask.store.steps.word`.
    :raises UnpicklableResult: it cannot be pickled.
    :raises PayloadTooLarge: it takes more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
    """
    if value is None:
        return None
    body, refers = _pickled(value, f"{name}, step {step}")
    return seal(REFERRING if refers else PLAIN, body, step_context(id, step))


def load_step(envelope: bytes | None, *, id: uuid.UUID, step: str) -> Any:
    """Return the value of a step; raises as :func:`load_result` does."""
    if envelope is None:
        return None
    return pickling.loads(*opened(envelope, step_context(id, step), id))


def resign_arguments(envelope: bytes, *, id: uuid.UUID, name: str) -> bytes:
    """Return the arguments of a task signed with the current key; nothing is unpickled.

    :raises PayloadRefused: they are not signed for this task with a key of this site.
    """
    return reseal(envelope, task_context(id, name), id)


def readdress_arguments(envelope: bytes, *, id: uuid.UUID, to: uuid.UUID, name: str) -> bytes:
    """Return arguments that this process has signed for one task, signed for another one of the same name.

    :param id: the id for which they were signed.
    :param to: the id of the other task.
    :raises PayloadRefused: they are not signed for this task with a key of this site.
    """
    verify(envelope, task_context(id, name), id)
    return seal(envelope[HEAD], envelope[BODY], task_context(to, name))


def resign_result(envelope: bytes, *, id: uuid.UUID, fence: int) -> bytes:
    """Return the result of an attempt signed with the current key; see :func:`resign_arguments`."""
    return reseal(envelope, result_context(id, fence), id)


def resign_step(envelope: bytes, *, id: uuid.UUID, step: str) -> bytes:
    """Return the value of a step signed with the current key; see :func:`resign_arguments`."""
    return reseal(envelope, step_context(id, step), id)


def _pickled(value: Any, name: str) -> tuple[bytes, bool]:
    """Return the result of a task as a pickle, and whether it refers to model instances."""
    try:
        body, refers = pickling.dumps(value, has_parts=type(value) not in pickling.LEAVES)
    except Exception as error:  # whatever a __reduce__ or __getstate__ raises
        raise unpicklable_result(value, name, error) from error
    _refuse_large(len(body), "results", name, settings.MAX_PAYLOAD)
    return body, refers


def _refuse_large(size: int, what: str, name: str, limit: int) -> None:
    if size > limit:
        raise PayloadTooLarge(what=what, task=name, size=size, limit=limit)
