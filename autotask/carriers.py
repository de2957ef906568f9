"""The carriers of AUTOTASK_CONTEXT, which take values from a call to the run of its task."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from autotask.conf import settings
from autotask.exceptions import ContextNotCarried, UnknownCarrier

#: The key of what telemetry carries, see :mod:`autotask.telemetry`: no path, since it has no dot. A process without it ignores it.
TELEMETRY = "telemetry"

#: The name of a zone with a fixed offset from UTC, as Django and the standard library write it.
_FIXED_OFFSET = re.compile(r"(?:UTC)?([+-])(\d\d):?(\d\d)")


class Carrier:
    """Carries a value from a call to the run of its task. Any class or object with these two methods will do.

    ::

        class Branch(Carrier):
            in_context = True

            def carry(self):
                return current_branch.get()

            @contextmanager
            def restore(self, value):
                token = current_branch.set(value)
                try:
                    yield
                finally:
                    current_branch.reset(token)

    :cvar in_context: True says that :meth:`restore` changes only context variables, such as the language. Changes to a
        thread, such as to the schema of its database connection, would reach other coroutines: if this is False, each
        task that is a coroutine gets a thread and a database connection of its own.
    """

    in_context = False

    def carry(self) -> Any:
        """Return the value to carry: None, or a small value that JSON can hold. Called at each call of a task."""
        raise NotImplementedError

    def restore(self, value: Any) -> AbstractContextManager[object]:
        """Return a context manager around the whole attempt; the arguments are loaded inside it."""
        raise NotImplementedError


class Language(Carrier):
    """Carries the language that is active at the call."""

    in_context = True

    def carry(self) -> str | None:
        """Return its code; None if it is the default one."""
        language = translation.get_language()
        return None if language == django_settings.LANGUAGE_CODE else language

    def restore(self, value: str) -> AbstractContextManager[object]:
        """Activate it."""
        return translation.override(value)


class TimeZone(Carrier):
    """Carries Django's current time zone, by its name."""

    in_context = True

    def carry(self) -> str | None:
        """Return its name; None if the default one is current."""
        if timezone.get_current_timezone() is timezone.get_default_timezone():
            return None
        name = timezone.get_current_timezone_name()
        _zone(name)  # refuses a zone that workers could not make
        return name

    def restore(self, value: str) -> AbstractContextManager[object]:
        """Activate it."""
        return timezone.override(_zone(value))


class TenantSchema(Carrier):
    """Carries the schema that django-tenants has set on the database connection."""

    def carry(self) -> str | None:
        """Return the name of the schema."""
        schema: str | None = _connection_of_tenants().schema_name
        return schema

    @contextmanager
    def restore(self, value: str) -> Iterator[None]:
        """Set it on the connection of the thread."""
        # Not schema_context(): up to 4.0.1 it saves the tenant of the default database, whichever connection it changes.
        connection = _connection_of_tenants()
        before = connection.tenant
        connection.set_schema(value)
        try:
            yield
        finally:
            connection.set_tenant(before)


def _zone(name: str) -> tzinfo:
    if parts := _FIXED_OFFSET.fullmatch(name):
        sign, hours, minutes = parts.groups()
        return timezone.get_fixed_timezone(int(f"{sign}1") * (60 * int(hours) + int(minutes)))
    return ZoneInfo(name)


def _connection_of_tenants() -> Any:
    return connections[getattr(django_settings, "TENANT_DB_ALIAS", DEFAULT_DB_ALIAS)]


def carried(task: str) -> Mapping[str, Any]:
    """Return the values of the carriers for a call now, by their paths.

    :param task: the name of the task, for messages.
    :raises ContextNotCarried: a carrier failed.
    """
    return {path: value for path in settings.CONTEXT if (value := _value(path, task)) is not None}


def restored(values: Mapping[str, Any]) -> ExitStack:
    """Restore the values of a call, until the returned stack is closed.

    :raises UnknownCarrier: a carrier is not known to this code.
    :raises Exception: whatever a carrier raises.
    """
    with ExitStack() as stack:
        for path, value in values.items():
            if path == TELEMETRY:
                continue
            stack.enter_context(_known(path).restore(value))
        return stack.pop_all()


def need_thread(values: Mapping[str, Any]) -> bool:
    """Whether restoring these changes more than context variables.

    :raises UnknownCarrier: a carrier is not known to this code.
    """
    return not all(getattr(_known(path), "in_context", False) for path in values if path != TELEMETRY)


@functools.lru_cache(maxsize=64)
def find(path: str) -> Carrier:
    """Return the carrier at a dotted path.

    :raises TypeError: the object there is not a carrier.
    :raises Exception: whatever importing raises.
    """
    found = import_string(path)
    carrier = found() if isinstance(found, type) else found
    if not (callable(getattr(carrier, "carry", None)) and callable(getattr(carrier, "restore", None))):
        raise TypeError("it has no methods carry() and restore(value)")
    return carrier  # type: ignore[no-any-return]  # it has the methods of one


def _value(path: str, task: str) -> Any:
    try:
        value = find(path).carry()
        json.dumps(value, allow_nan=False)
    except Exception as error:  # whatever the project raises
        raise ContextNotCarried(path=path, task=task, reason=f"{type(error).__name__}: {error}") from error
    return value


def _known(path: str) -> Carrier:
    # Other paths are not imported, even if the signature is valid.
    if path not in settings.CONTEXT:
        raise UnknownCarrier(path=path, reason="AUTOTASK_CONTEXT does not have it")
    try:
        return find(path)
    except ImportError as error:
        raise UnknownCarrier(path=path, reason=str(error)) from error
