"""A plain connection to PostgreSQL, by whichever driver is installed; each statement is a transaction of its own."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

try:
    import psycopg as driver
except ImportError:
    import psycopg2 as driver

#: A server that cannot be reached, or does not let us in.
OperationalError = driver.OperationalError

Parameters = Mapping[str, Any] | Sequence[Any] | None


class Connection:
    """A connection to where the arguments say (keywords of libpq), or the ``PG*`` variables of the environment."""

    def __init__(self, **where: str) -> None:
        self.raw = driver.connect("", **where)
        self.raw.autocommit = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self.raw.close()

    def execute(self, statement: str, parameters: Parameters = None) -> int:
        """Run a statement and return how many rows it touched."""
        with self.raw.cursor() as cursor:
            cursor.execute(statement, parameters)
            return int(cursor.rowcount)

    def rows(self, statement: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self.raw.cursor() as cursor:
            cursor.execute(statement, parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def value(self, statement: str, parameters: Parameters = None) -> Any:
        """Run a statement and return the first column of its first row; None if there is no row."""
        found = self.rows(statement, parameters)
        return found[0][0] if found else None

    def settle(self) -> None:
        """Do now what the server would do in the middle of a measurement: vacuum, statistics, checkpoint."""
        self.execute("VACUUM ANALYZE")
        # Allowed to superusers only. Others measure with a little more noise.
        if self.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            self.execute("CHECKPOINT")
