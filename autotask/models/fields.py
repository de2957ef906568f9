"""Fields of arrays, and a lookup in them, which need nothing of ``django.contrib.postgres``."""

import json
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    Field = models.Field[Any, Any]
    Lookup = models.Lookup[Any]
else:
    Field, Lookup = models.Field, models.Lookup  # cannot be subscripted at run time


class _ArrayField(Field):
    """Values, as an array in PostgreSQL; as text in other databases, where no rows are stored.

    Django's ``ArrayField`` would make every project add ``django.contrib.postgres`` to its ``INSTALLED_APPS``.
    """

    array: ClassVar[str]

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        return self.array if connection.vendor == "postgresql" else "text"

    def to_python(self, value: Any) -> Any:
        """Return the values in the text made by :meth:`value_to_string`."""
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Return the values as JSON, for a fixture."""
        return json.dumps(self.value_from_object(obj))


class NamesField(_ArrayField):
    """Names."""

    array = "text[]"


class NumbersField(_ArrayField):
    """Whole numbers."""

    array = "bigint[]"


class IdsField(_ArrayField):
    """Ids, with None at places that are empty."""

    array = "uuid[]"

    def to_python(self, value: Any) -> Any:
        """Return the ids in the text made by :meth:`value_to_string`."""
        return [id and uuid.UUID(id) for id in json.loads(value)] if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Return the ids as JSON, for a fixture."""
        return json.dumps([id and str(id) for id in self.value_from_object(obj)])


@NamesField.register_lookup
class Has(Lookup):
    """``names__has="a"``: the names include this one."""

    lookup_name = "has"

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, tuple[Any, ...]]:
        """Return the condition."""
        names, names_params = self.process_lhs(compiler, connection)
        name, name_params = self.process_rhs(compiler, connection)
        return f"{name} = ANY({names})", (*name_params, *names_params)
