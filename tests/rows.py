"""Models of tests whose rows are tasks: their tables exist during a few tests only.

Workers know the tables of all such models, and write to them what they record. Elsewhere in this process they must not.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connection

from autotask.store import model_rows


def hide(models: Sequence[Any]) -> dict[str, model_rows.RowTable]:
    """Let workers forget some models until their tables exist; to be called where the models are imported."""
    names = [model._meta.label_lower for model in models]
    return {name: model_rows.tables.pop(name) for name in names if name in model_rows.tables}


@contextlib.contextmanager
def existing(models: Sequence[Any], hidden: dict[str, model_rows.RowTable]) -> Iterator[None]:
    """Make the tables of models, and drop them at the end."""
    with connection.schema_editor() as editor:
        for model in models:
            editor.create_model(model)
    model_rows.tables.update(hidden)
    try:
        yield
    finally:
        hide(models)
        with connection.schema_editor() as editor:
            for model in reversed(models):
                editor.delete_model(model)
