"""Service: write to the rows of model tasks how these ended, where that could not be done at once."""

import logging
import random
import time
import uuid
from collections.abc import Sequence

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import model_rows
from autotask.store.errors import Trouble, trouble_of
from autotask.store.isolation import Refusals
from autotask.store.model_rows import Overdue, RowTable
from autotask.texts.lines import describe, one_line
from autotask.worker import rows_of_tasks

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks at the tables of which this process has missed rows: somebody has locked these.
SOON = 1.0

#: Seconds between two looks at all tables, and at least this many times as long as the look took.
EVERY = 30.0
SHARE = 100

#: Rows in one piece.
PIECE = 500


class Mender:
    """Writes the ends of tasks to their rows.

    Nearly all rows are written by the statement that records the end. Those are left out that somebody has locked just then.
    """

    doing = "write to the rows of model tasks how these ended"

    def __init__(self) -> None:
        self._refused: Refusals[uuid.UUID] = Refusals("The row of the model task %s cannot be written")
        self._all_at = time.monotonic() + EVERY * random.random()
        self._broken: set[str] = set()

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look at the tables of which rows were missed, now and then at all of them."""
        missed = [name for name in list(rows_of_tasks.missed) if name in model_rows.tables]
        rows_of_tasks.missed.clear()
        for name in missed:
            self._look(connection, model_rows.tables[name])
        if time.monotonic() >= self._all_at:
            began = time.monotonic()
            for table in list(model_rows.tables.values()):
                self._look(connection, table)
            self._all_at = time.monotonic() + max(EVERY * random.uniform(0.8, 1.2), SHARE * (time.monotonic() - began))
        return SOON

    def _look(self, connection: BaseDatabaseWrapper, table: RowTable) -> None:
        """Look at one table; one that is missing, as before its migration, does not hold up others."""
        try:
            self._mend(connection, table)
        except DatabaseError as error:
            if trouble_of(error) not in (Trouble.REFUSED, Trouble.DOUBTFUL):
                raise
            if table.name not in self._broken:
                logger.error("The rows of %s cannot be written: %s", table.name, one_line(describe(error)))
            self._broken.add(table.name)
        else:
            self._broken.discard(table.name)

    def _mend(self, connection: BaseDatabaseWrapper, table: RowTable) -> None:
        # Those that are left alone now do not keep others from being found.
        found = model_rows.overdue(connection, table, PIECE, self._refused.spared())
        overdue = {row.id: row for row in found}
        if not overdue:
            return

        def act(ids: Sequence[uuid.UUID]) -> int:
            return self._write(connection, table, [overdue[id] for id in ids])

        ids = list(overdue)
        written = sum(self._refused.run_found(lambda: act(ids), lambda: ids, act))
        if written < len(overdue) or len(found) == PIECE:
            rows_of_tasks.missed.add(table.name)

    def _write(self, connection: BaseDatabaseWrapper, table: RowTable, overdue: Sequence[Overdue]) -> int:
        ended = [row for row in overdue if row.ended]
        lost = [row.id for row in overdue if not row.ended]
        results = {
            row.id: rows_of_tasks.as_json(row.id, row.fence, row.value) for row in ended if row.value is not None
        }
        written = model_rows.mend(connection, table, [row.id for row in ended], results) if ended else 0
        return written + (model_rows.give_up(connection, table, lost) if lost else 0)
