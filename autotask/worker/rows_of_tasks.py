"""The rows of model tasks, as the parts that record outcomes see them."""

import json
import uuid
from collections.abc import Sequence

from autotask import payload
from autotask.store import model_rows
from autotask.store.finish import Outcome, RowEnds
from autotask.task import State

#: The names of tasks whose rows were not all written: the mender of this process looks there soon.
missed: set[str] = set()


def ends(name: str, outcomes: Sequence[Outcome]) -> RowEnds | None:
    """Return the writer of the outcomes of tasks of one name to their rows; None: they have no rows."""
    table = model_rows.tables.get(name)
    if table is None:
        return None
    done = (outcome for outcome in outcomes if outcome.state is State.DONE and outcome.value is not None)
    return RowEnds(table, {each.id: as_json(each.id, each.fence, each.value) for each in done}, len(outcomes))


def as_json(id: uuid.UUID, fence: int, value: bytes | None) -> str:
    """Return a stored result, which consists of what JSON has, as JSON."""
    return json.dumps(payload.load_result(value, id=id, fence=fence), separators=(",", ":"))
