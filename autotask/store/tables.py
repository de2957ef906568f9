"""Whether the tables of autotask and their sequence are there."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import columns
from autotask.store.connection import rows

WITHOUT_SEQUENCE = "SELECT to_regclass('autotask_task') IS NOT NULL AND to_regclass('autotask_fence') IS NULL"

# With the columns that this code writes: otherwise a worker runs tasks and cannot record them; they are lost when it ends.
TABLES = f"""
SELECT to_regclass('autotask_worker') IS NOT NULL AND to_regclass('autotask_schedule') IS NOT NULL
   AND to_regclass('autotask_step') IS NOT NULL AND to_regclass('autotask_statistics') IS NOT NULL
   AND to_regclass('autotask_log') IS NOT NULL AND to_regclass('autotask_history') IS NOT NULL
   AND to_regclass('autotask_incident') IS NOT NULL AND to_regclass('autotask_ready') IS NOT NULL
   AND to_regclass('autotask_claim') IS NOT NULL AND to_regclass('autotask_held') IS NOT NULL
   AND {2 * len(columns.COMMON)} = (
       SELECT count(*) FROM pg_attribute
       WHERE attrelid IN (to_regclass('autotask_task'), to_regclass('autotask_result')) AND NOT attisdropped
         AND attname = ANY('{{{",".join(columns.COMMON)}}}'::name[])
   )
"""


def are_there(connection: BaseDatabaseWrapper) -> bool:
    """Whether ``migrate`` has created the tables, with the columns that this code needs."""
    return bool(rows(connection, TABLES)[0][0])


def are_without_sequence(connection: BaseDatabaseWrapper) -> bool:
    """Whether the tables exist, but not their sequence, which only migrations create."""
    return bool(rows(connection, WITHOUT_SEQUENCE)[0][0])
