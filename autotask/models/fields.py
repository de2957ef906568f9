"""Fields of arrays, and a lookup in them, which need nothing of ``django.contrib.postgres``."""

import json
import uuid
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    Field = models.Field[Any, Any]
    Lookup = models.Lookup[Any]
else:
    Field, Lookup = models.Field, models.Lookup  # cannot be subscripted at run time


class NamesField(Field):
    """Names, as an array in PostgreSQL; as text in other databases, where no rows are stored.

    Django's ``ArrayField`` would make every project add ``django.contrib.postgres`` to its ``INSTALLED_APPS``.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        return "text[]" if connection.vendor == "postgresql" else "text"

    def to_python(self, value: Any) -> Any:
        """Return the names in the text made by :meth:`value_to_string`."""
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Return the names as JSON, for a fixture."""
        return json.dumps(self.value_from_object(obj))


class NumbersField(Field):
    """Whole numbers, as an array in PostgreSQL; as text in other databases, where no rows are stored."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        return "bigint[]" if connection.vendor == "postgresql" else "text"

    def to_python(self, value: Any) -> Any:
        """Return the numbers in the text made by :meth:`value_to_string`."""
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Return the numbers as JSON, for a fixture."""
        return json.dumps(self.value_from_object(obj))


class IdsField(Field):
    """Ids, as an array in PostgreSQL, with None at places that are empty; as text in other databases, where no rows are stored."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        return "uuid[]" if connection.vendor == "postgresql" else "text"

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
