"""A fixture with which a test has the real database refuse what it is told to refuse."""

from collections.abc import Callable, Iterator

import pytest

from autotask.store.connection import current, execute


@pytest.fixture
def refuse(transactional_db) -> Iterator[Callable[..., Callable[[], None]]]:
    """Have a table refuse rows: ``refuse("autotask_result", "INSERT", "NEW.name = 'x'")``; what is returned ends that.

    *code* is the SQLSTATE of the error.
    """
    made: list[tuple[str, str]] = []

    def end(name: str, table: str) -> None:
        if (name, table) in made:
            made.remove((name, table))
            execute(current(), f"DROP TRIGGER {name} ON {table}")
            execute(current(), f"DROP FUNCTION {name}()")

    def start(table: str, event: str, condition: str = "true", code: str = "P0001") -> Callable[[], None]:
        name = f"refusal_{len(made)}_{table}"
        execute(
            current(),
            f"""
            CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF {condition} THEN RAISE 'refused by a test' USING ERRCODE = '{code}'; END IF;
                RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
            END $$
            """,
        )
        execute(
            current(),
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
        )
        made.append((name, table))
        return lambda: end(name, table)

    yield start
    for name, table in list(made):
        end(name, table)
