"""One AUTOTASK_* setting of the project, read from Django's settings whenever it is asked for."""

import time
from typing import Any, Generic, TypeVar, overload

from django.conf import settings as django_settings
from django.utils.functional import empty

from autotask.alert_rules import Unfit
from autotask.exceptions import InvalidSetting
from autotask.setting_types import SettingType

T = TypeVar("T")

PREFIX = "AUTOTASK_"

#: Stands for a setting that a project has not set.
UNSET: Any = object()

#: The attributes of Django's lazy object, which runs Python code for each of them. The holder of the settings is among them.
_lazy = object.__getattribute__(django_settings, "__dict__")


def _configured() -> Any:
    """Return the object that holds the project's settings now.

    Django's lazy object raises for missing ones. Most of ours are missing: that takes several microseconds each, several
    times for each task.
    """
    holder = _holder()
    return django_settings if holder is empty else holder


def _holder() -> Any:
    """Return the object in Django's lazy one, which is empty for a moment while another thread overrides settings, in a test."""
    while (holder := _lazy.get("_wrapped")) is None:
        time.sleep(0)
    return holder


def secret_key() -> Any:
    """Return the ``SECRET_KEY`` of Django; it may be blank."""
    # _configured() inlined, as below: each task asks for the key twice.
    try:
        holder = _lazy["_wrapped"]
    except KeyError:
        holder = _holder()
    return getattr(django_settings if holder is empty else holder, "SECRET_KEY", "")


class Setting(Generic[T]):
    """One setting, as a descriptor: reading the attribute reads ``django.conf.settings`` now."""

    def __init__(self, kind: SettingType[T], default: T, meaning: str) -> None:
        self.kind = kind
        self.default = default
        self.meaning = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = PREFIX + name

    @property
    def shown_default(self) -> str:
        """The default as people write it in their settings."""
        default: Any = self.default
        if isinstance(default, float):
            return f"{default:g}"
        if isinstance(default, int) and default > 9999:
            return f"{default:_}"
        return repr(default)

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "Setting[T] | T":
        if instance is None:
            return self
        # _configured() inlined: a call takes as long as all the rest, and each task reads five settings.
        try:
            holder = _lazy["_wrapped"]
        except KeyError:
            holder = _holder()
        value = getattr(django_settings if holder is empty else holder, self.name, UNSET)
        return self.default if value is UNSET else self.accept(value)

    def accept(self, value: Any, name: str = "") -> T:
        """Return the value in the setting's own type.

        :param name: under which it was found, if that is not the setting's own.
        :raises InvalidSetting: the value is invalid.
        """
        try:
            return self.kind.read(value)
        except Unfit as part:
            where = f"{name or self.name}{part.where}"
            raise InvalidSetting(name=where, expected=part.expected, value=part.value) from None
        except (ValueError, TypeError, OverflowError):
            shown = "•••" if self.kind.secret else value
            raise InvalidSetting(name=name or self.name, expected=self.kind.expected, value=shown) from None


class KnownElsewhere(Setting[T]):
    """A setting that a project may still have under the name that it has in another package; ours comes first.

    :param other: that name.
    """

    def __init__(self, kind: SettingType[T], default: T, meaning: str, other: str) -> None:
        super().__init__(kind, default, f"{meaning} If it is not set, {other} is used.")
        self.other = other

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        found = self.found()
        return self.default if found is None else self.accept(found[1], found[0])

    def found(self) -> tuple[str, Any] | None:
        """Return the name under which the project has set it, and the value; None: under neither."""
        configured = _configured()
        for name in (self.name, self.other):
            if (value := getattr(configured, name, UNSET)) is not UNSET:
                return name, value
        return None
