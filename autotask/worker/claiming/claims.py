"""The statements by which a worker claims, under its current name."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim
from autotask.store.claim import BoundedLane
from autotask.task import ClaimedTask
from autotask.worker.registration import Registration
from autotask.worker.unknown_tasks import UnknownTasks


class Claims:
    """The claims of a worker, without unknown tasks and those that the database refuses. Only the loop calls this.

    :param unknown_tasks: the tasks that are left for newer workers.
    """

    def __init__(self, registration: Registration, unknown_tasks: UnknownTasks) -> None:
        self._registration = registration
        self._unknown_tasks = unknown_tasks
        self._refused = claim.refusals()

    def take(
        self,
        connection: BaseDatabaseWrapper,
        lanes: Sequence[BoundedLane],
        *,
        per_lane: int,
        limit: int,
        which: str = claim.INNOCENT,
        most_bytes: int | None = None,
    ) -> list[ClaimedTask]:
        """Claim tasks; see :func:`autotask.store.claim.claim`."""
        return claim.claim(
            connection,
            self._registration.id,
            lanes,
            per_lane=per_lane,
            limit=limit,
            which=which,
            most_bytes=most_bytes,
            unknown_names=self._unknown_tasks.names(),
            refused=self._refused,
        )

    def find_lanes(self, connection: BaseDatabaseWrapper) -> claim.Found:
        """Return the lanes that hold ready tasks, those that hold suspects, and whether a gate is marked."""
        return claim.find_lanes(connection, unknown_names=self._unknown_tasks.names(), spared=self._refused.spared())

    def reconcile(self, connection: BaseDatabaseWrapper, held: Sequence[int]) -> list[uuid.UUID]:
        """Release the tasks that run under the name of this worker and are not held; return their ids."""
        return claim.reconcile(connection, self._registration.id, held, refused=self._refused)
