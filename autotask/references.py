"""Model instances by reference: how to store a reference to an instance, and how to fetch the instances again."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import CompositePrimaryKey, Field, Manager, Model, QuerySet
from django.db.models.options import Options
from django.db.models.query import RawQuerySet

from autotask.exceptions import NotReferable, ObjectGone, OtherSchema

M = TypeVar("M", bound=Model)

#: Characters of a primary key by which tasks can be found.
LONGEST_KEY = 500


class Reference(NamedTuple):
    """A reference to a saved instance.

    :ivar model: the label of its model, like ``shop.Order``; for a proxy, its own label.
    :ivar database: the alias of the database it was loaded from or saved to.
    :ivar pk: its primary key; a tuple, if that is a composite one.
    :ivar schema: the schema of the connection, if tenants have schemas and the model is one of theirs; else None.
    """

    model: str
    database: str
    pk: Any
    schema: str | None = None

    def as_stored(self) -> tuple[Any, ...]:
        """Return it as it is pickled: without the schema if there is none."""
        return tuple(self) if self.schema is not None else tuple(self[:3])


#: Types that are not pickled as they are: instances become references, querysets are refused.
REFERABLE = (Model, QuerySet, RawQuerySet)


def reference(value: "Model | QuerySet[Any] | RawQuerySet[Any]") -> Reference:
    """Return a reference to a saved instance.

    :raises NotReferable: it is not saved, or it is a queryset; the message says what to pass instead.
    """
    if not isinstance(value, Model):
        raise NotReferable(
            what=f"a queryset{f' of {value.model._meta.label}' if value.model else ''}",
            advice="Pass list(queryset) if the task is about these objects, or the values to filter by if it is about "
            "those that match when it runs.",
        )
    label, pk = value._meta.label, value.pk
    if value._state.adding:
        raise NotReferable(
            what=f"an unsaved {label}",
            advice="Save it first (only a reference is stored; the instance is fetched when it is needed), or pass its "
            "values.",
        )
    if pk is None or (isinstance(pk, tuple) and None in pk):
        raise NotReferable(
            what=f"a {label} without a primary key, as after delete()",
            advice="It could not be fetched: pass its values.",
        )
    database = value._state.db or DEFAULT_DB_ALIAS
    return Reference(label, database, _as_loaded(value._meta, pk), _schema_for(value._meta, database))


def to_rows(values: Sequence[Model]) -> list[Reference]:
    """Return references to saved instances, mostly of one model; for many, that is quicker than one by one.

    :raises NotReferable: as :func:`reference`.
    """
    if not values or isinstance(values[0]._meta.pk, CompositePrimaryKey):
        return [reference(value) for value in values]
    first = values[0]
    label, database, _, schema = reference(first)
    kind, alias, as_loaded = type(first), first._state.db, first._meta.pk.to_python
    return [
        Reference(label, database, as_loaded(value.pk), schema)
        if type(value) is kind and value._state.db == alias and not value._state.adding and value.pk is not None
        else reference(value)
        for value in values
    ]


def subject(value: Model) -> str:
    """Return the text by which the tasks about a saved instance are found, like ``shop.order:42``.

    A proxy is what it stands for. The database is left out, so that an instance which was read from a replica is the same;
    the schema of a tenant is not: ``berlin/shop.order:42``.

    :raises NotReferable: it is not saved, its primary key is too long, or it belongs to a tenant and the connection to none.
    """
    refers = reference(value)
    concrete: Any = value._meta.concrete_model
    key = concrete._meta.pk.value_to_string(value)
    if len(key) > LONGEST_KEY:
        raise NotReferable(
            what=f"a {refers.model} whose primary key has {len(key)} characters",
            advice=f"Keys of subjects have at most {LONGEST_KEY}.",
        )
    place = "" if refers.schema is None else f"{refers.schema}/"
    return f"{place}{concrete._meta.label_lower}:{key}"


def fetch(references: Sequence[Reference], row: Sequence[Any] | None = None) -> list[Model]:
    """Return the instances, in the same order, with one query for each model and database.

    It uses the base managers of their models, as Django does for related objects.

    :param row: the values of :func:`columns_of`, if there is one instance, as the driver has just returned them; None: it is read.
    :raises ObjectGone: at least one of them is not there.
    :raises OtherSchema: one of them belongs to another schema than that of the connection.
    :raises LookupError: there is no such model.
    :raises django.db.Error: the database could not be queried.
    """
    wanted: dict[tuple[str, str], list[Any]] = {}
    for model, database, pk, schema in references:
        _refuse_other_schema(model, database, pk, schema)
        wanted.setdefault((model, database), []).append(pk)
    if row is not None and len(references) == 1 and (made := _made(references[0], row)) is not None:
        return [made]
    found = {place: _by_key(*place, keys) for place, keys in wanted.items()}
    gone = [refers for refers in references if refers.pk not in found[refers.model, refers.database]]
    if gone:
        others = f" (nor are {len(gone) - 1} others that are referred to)" if len(gone) > 1 else ""
        model, database, pk, _ = gone[0]
        raise ObjectGone(model=model, database=database, pk=pk, others=others)
    return [found[refers.model, refers.database][refers.pk] for refers in references]


def one(model: type[M], database: str, key: Any) -> M | None:
    """Return the instance with a primary key, by the base manager of its model; None if it is not there.

    :raises django.db.Error: the database could not be queried.
    """
    rows: Any = model._base_manager.using(database)
    statement = _statement(model, database)
    if statement is None:
        return rows.filter(pk=key).first()  # type: ignore[no-any-return]  # of the model
    value = model._meta.pk.get_db_prep_value(key, connections[database], prepared=False)
    return next(iter(rows.raw(statement, [value])), None)


@functools.lru_cache(maxsize=1000)
def columns_of(model: type[Model], database: str) -> tuple[str, ...]:
    """Return the quoted columns of which an instance of a model is made; none if only Django can tell."""
    options, manager = model._meta, model._base_manager
    fields: Any = options.concrete_fields
    is_plain = type(manager) is Manager and not options.parents and not isinstance(options.pk, CompositePrimaryKey)
    if not is_plain or any(type(field).select_format is not Field.select_format for field in fields):
        return ()
    quote = connections[database].ops.quote_name
    return tuple(quote(field.column) for field in fields)


@functools.lru_cache(maxsize=1000)
def _statement(model: type[Model], database: str) -> str | None:
    """Return the statement that selects a row of a model; None if Django has to make it.

    Where manager and columns are plain, it is made once: for Django, that takes longer than to run it.
    """
    if not (columns := columns_of(model, database)):
        return None
    options, quote = model._meta, connections[database].ops.quote_name
    sql = f"SELECT {', '.join(columns)} FROM {quote(options.db_table)} WHERE {quote(str(options.pk.column))} = "
    return sql.replace("%", "%%") + "%s"


def _made(refers: Reference, values: Sequence[Any]) -> Model | None:
    """Return the instance with these values; None if they are not those of its columns."""
    model, database, pk, _ = refers
    kind: Any = apps.get_model(model)
    if len(values) != len(columns_of(kind, database)):
        return None
    connection, made = connections[database], list(values)
    for place, converters, column in _converters(kind, database):
        for convert in converters:
            made[place] = convert(made[place], column, connection)
    instance: Model = kind.from_db(database, [field.attname for field in kind._meta.concrete_fields], made)
    return instance if instance.pk == pk else None


@functools.lru_cache(maxsize=1000)
def _converters(model: type[Model], database: str) -> list[tuple[int, list[Any], Any]]:
    """Return the functions that convert what the driver returns, by the places of the columns, with these as expressions."""
    columns: list[Any] = [field.get_col(model._meta.db_table) for field in model._meta.concrete_fields]
    compiler: Any = model._base_manager.using(database).query.get_compiler(database)
    return [(place, functions, column) for place, (functions, column) in compiler.get_converters(columns).items()]


def _by_key(model: str, database: str, keys: list[Any]) -> dict[Any, Model]:
    kind = apps.get_model(model)
    if len(keys) == 1:
        return {} if (row := one(kind, database, keys[0])) is None else {row.pk: row}
    found: dict[Any, Model] = kind._base_manager.using(database).order_by().in_bulk(keys)
    return found


def _as_loaded(options: "Options[Any]", pk: Any) -> Any:
    """Return a primary key with the type of a loaded instance: after ``create(pk="5")`` it is still text."""
    if isinstance(pk, tuple):
        return tuple(field.to_python(part) for field, part in zip(options.pk_fields, pk, strict=True))
    return options.pk.to_python(pk)


def _schema_for(options: "Options[Any]", database: str) -> str | None:
    """Return the schema to which an instance belongs; None if all share one.

    :raises NotReferable: only schemas of tenants have the table of its model, and the connection is in none of these.
    """
    schema: str | None = getattr(connections[database], "schema_name", None)
    if schema is None or not _of_tenants(options.app_label):
        return None
    if schema == _public_schema() and not _is_among(options.app_label, _shared_apps()):
        raise NotReferable(
            what=f"a {options.label}, which belongs to a tenant, while the connection is in the schema {schema!r}",
            advice="Call the task inside schema_context() of that tenant.",
        )
    return schema


def _refuse_other_schema(model: str, database: str, pk: Any, schema: str | None) -> None:
    if schema is not None and (current := getattr(connections[database], "schema_name", None)) != schema:
        raise OtherSchema(model=model, database=database, pk=pk, schema=schema, current=current)


def _public_schema() -> str:
    return str(getattr(settings, "PUBLIC_SCHEMA_NAME", "public"))


def _of_tenants(app_label: str) -> bool:
    """Whether each tenant has the tables of an app, by the settings of django-tenants; True without such settings."""
    if types := getattr(settings, "TENANT_TYPES", None):
        return any(_is_among(app_label, kind["APPS"]) for name, kind in types.items() if name != _public_schema())
    return _is_among(app_label, getattr(settings, "TENANT_APPS", None))


def _shared_apps() -> Sequence[str] | None:
    if types := getattr(settings, "TENANT_TYPES", None):
        return types[_public_schema()]["APPS"]  # type: ignore[no-any-return]  # of django-tenants
    return getattr(settings, "SHARED_APPS", None)


def _is_among(app_label: str, names: Sequence[str] | None) -> bool:
    if names is None:
        return True
    config = apps.get_app_config(app_label)
    return config.name in names or f"{type(config).__module__}.{type(config).__name__}" in names
