"""Model instances by reference: what is stored of an instance, and how those that are referred to are fetched."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Model, QuerySet
from django.db.models.options import Options
from django.db.models.query import RawQuerySet

from autotask.exceptions import NotReferable, ObjectGone


class Reference(NamedTuple):
    """What is stored of a saved instance.

    :ivar model: the label of its model, like ``shop.Order``; that of a proxy, if it is an instance of one.
    :ivar database: the alias of the database it was loaded from or saved to.
    :ivar pk: its primary key; a tuple, if that is a composite one.
    """

    model: str
    database: str
    pk: Any


#: What is not pickled as it is: instances become references, querysets are refused.
REFERABLE = (Model, QuerySet, RawQuerySet)


def reference(value: "Model | QuerySet[Any] | RawQuerySet[Any]") -> Reference:
    """Return a reference to a saved instance.

    :raises NotReferable: it is not saved, or it is a queryset; the error says what to pass instead.
    """
    if not isinstance(value, Model):
        raise NotReferable(
            what=f"a queryset{f' of {value.model._meta.label}' if value.model else ''}",
            advice="Pass list(queryset) if it is about these objects, or what the queryset filters by if it is about "
            "those that match when the task runs.",
        )
    label, pk = value._meta.label, value.pk
    if value._state.adding:
        raise NotReferable(
            what=f"an unsaved {label}",
            advice="Save it first (a reference to it travels, and it is fetched from the database when it is needed), or "
            "pass its values.",
        )
    if pk is None or (isinstance(pk, tuple) and None in pk):
        raise NotReferable(
            what=f"a {label} without a primary key, as after delete()",
            advice="Nothing could be fetched by it: pass its values.",
        )
    return Reference(label, value._state.db or DEFAULT_DB_ALIAS, _as_loaded(value._meta, pk))


def fetch(references: Sequence[Reference]) -> list[Model]:
    """Return the instances, in the same order, with one query for each model and database.

    They are looked up by the base managers of their models, as related objects are.

    :raises ObjectGone: at least one of them is not there.
    :raises LookupError: there is no such model.
    :raises django.db.Error: the database could not be asked.
    """
    wanted: dict[tuple[str, str], list[Any]] = {}
    for model, database, pk in references:
        wanted.setdefault((model, database), []).append(pk)
    found = {place: _by_key(*place, keys) for place, keys in wanted.items()}
    gone = [refers for refers in references if refers.pk not in found[refers.model, refers.database]]
    if gone:
        others = f" (nor are {len(gone) - 1} others that are referred to)" if len(gone) > 1 else ""
        raise ObjectGone(**gone[0]._asdict(), others=others)
    return [found[model, database][pk] for model, database, pk in references]


def _by_key(model: str, database: str, keys: list[Any]) -> dict[Any, Model]:
    found: dict[Any, Model] = apps.get_model(model)._base_manager.using(database).order_by().in_bulk(keys)
    return found


def _as_loaded(options: "Options[Any]", pk: Any) -> Any:
    """Return a primary key in the type that it has when it is loaded: after ``create(pk="5")`` it is text still."""
    if isinstance(pk, tuple):
        return tuple(field.to_python(part) for field, part in zip(options.pk_fields, pk, strict=True))
    return options.pk.to_python(pk)
