"""A plain connection to PostgreSQL with the installed driver; each statement is its own transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

try:
    import psycopg as driver
except ImportError:
    import psycopg2 as driver

#: The server cannot be reached, or refuses us.
OperationalError = driver.OperationalError

Parameters = Mapping[str, Any] | Sequence[Any] | None


class Connection:
    """A connection to the address in the arguments (keywords of libpq) or in the ``PG*`` variables."""

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
        """Vacuum, analyze and checkpoint now, so that the server does not during a measurement."""
        self.execute("VACUUM ANALYZE")
        # Only superusers may. Others measure with a little more noise.
        if self.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            self.execute("CHECKPOINT")
