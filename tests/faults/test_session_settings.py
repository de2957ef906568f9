"""A site whose role has unusual settings: every kind of task runs to its end, and nobody complains."""

import json

import pytest

from autotask.store.connection import rows
from tests.faults import flowing
from tests.helpers import LONG, wait_until

#: Settings that sites have set for a role. All of them at once, and each by itself.
EACH = {
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_min_messages": "debug1",
    "DateStyle": "ISO, DMY",
    "default_transaction_deferrable": "on",
    "enable_indexscan": "off",
    "extra_float_digits": "0",
    "IntervalStyle": "iso_8601",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "nowhere, public",
    "standard_conforming_strings": "off",
    "TimeZone": "Asia/Kolkata",
    "transform_null_equals": "on",
}
CASES = {
    "all": EACH,
    "serializable": {"default_transaction_isolation": "serializable"},
    "repeatable read": {"default_transaction_isolation": "repeatable read"},
    "read only": {"default_transaction_read_only": "on"},
    "custom plans": {"plan_cache_mode": "force_custom_plan"},
    "timeouts": {
        "statement_timeout": "5s",
        "lock_timeout": "1s",
        "idle_in_transaction_session_timeout": "1s",
        "idle_session_timeout": "1s",
    },
    **{f"{name} {value}": {name: value} for name, value in EACH.items()},
}


@pytest.fixture
def strange_world(world, request):
    """A world whose programs use a role with settings of its own."""
    world.server.sql("CREATE ROLE strange LOGIN")
    for what in ("TABLES", "SEQUENCES"):
        world.server.sql(f"GRANT ALL ON ALL {what} IN SCHEMA public TO strange", world.name)
    for name, value in request.param.items():
        # A list is one of names, not one name.
        world.server.sql(f"ALTER ROLE strange SET {name} = {value if name == 'search_path' else repr(value)}")
    world.user = "strange"
    if "default_transaction_read_only" in request.param:
        world.database_options["options"] = "-c default_transaction_read_only=off"  # as such a site does
    flowing.use_in(world, LOGS={})
    world.environment["FAULTS_APPS"] = "tests.faults.flowing tests.faults.touring"
    yield world
    world.close()
    world.server.sql(f"DROP DATABASE {world.name} WITH (FORCE)")
    world.server.sql("DROP ROLE strange")


def complaints(program):
    """Return what a worker has complained of, other than the failures of attempts."""
    lines = [line for line in program.output().splitlines() if "WARNING" in line or "ERROR" in line]
    return [line for line in lines if "the first attempt fails" not in line]


@pytest.mark.parametrize(
    "strange_world",
    [pytest.param(case, id=name) for name, case in CASES.items() if LONG or name == "all"],
    indirect=True,
)
def test_tasks_of_every_kind_run_to_their_end_whatever_is_set_for_the_role(strange_world):
    # Given
    world = strange_world
    worker = world.worker("--threads=4")

    # When
    tour = world.start("-m", "tests.faults.touring")
    wait_until(lambda: tour.output().rstrip().endswith("}") or tour.has_ended(), 60, "the end of the tour")

    # Then
    assert not tour.has_ended(), tour.output()
    found = json.loads(tour.output().splitlines()[-1])
    cancelled = found["statuses"].pop("cancelled")
    assert cancelled == {"cancelled": 1, "done": 2}
    assert {kind: set(statuses) for kind, statuses in found["statuses"].items()} == {
        kind: {"done"} for kind in found["statuses"]
    }
    assert found["attempts"] == {"retried": [2, 2], "limited twice": [2] * 6}
    assert found["lines"] == ["a line"]
    ticks = "SELECT 1 FROM autotask_result WHERE name LIKE '%%tick' AND state = 3"
    wait_until(lambda: len(rows(world.database, ticks)) >= 2, what="two ticks")
    assert complaints(worker) == []
