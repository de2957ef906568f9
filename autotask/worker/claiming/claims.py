"""The statements by which a worker claims, under its current name."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claim, follow, forgotten
from autotask.store.claim import BoundedLane, Found, Lane
from autotask.store.follow import Wanted
from autotask.task import ClaimedTask
from autotask.worker import bounds, turns
from autotask.worker.bounds import Bounds
from autotask.worker.gates import present
from autotask.worker.paused import Paused
from autotask.worker.registration import Registration
from autotask.worker.turns import Turns
from autotask.worker.unknown_tasks import UnknownTasks


class Claims:
    """The claims of a worker, without unknown and paused tasks and those that the database refuses. Only the loop calls this.

    :param unknown_tasks: the tasks that are left for newer workers.
    :ivar paused: what is paused, as the last look has found it.
    :ivar bounds: the lower bounds of lanes, which other workers may share.
    :ivar turns: the turns at making large claims, as well.
    """

    def __init__(self, registration: Registration, unknown_tasks: UnknownTasks, paused: Paused) -> None:
        self.paused = paused
        self._registration = registration
        self._unknown_tasks = unknown_tasks
        self._refused = claim.refusals()
        self.bounds = Bounds(bounds.MEMORY.of_worker())
        self.turns = Turns(turns.MEMORY.of_worker())

    def are_whole(self) -> bool:
        """Whether claims leave out nothing that another worker might take."""
        return not (self._unknown_tasks.names() or self.paused.names or self._refused.spared())

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
            paused_names=self.paused.names,
            refused=self._refused,
        )

    def follow(
        self, connection: BaseDatabaseWrapper, wanted: Sequence[Wanted], queues: Sequence[str]
    ) -> dict[str, list[ClaimedTask]]:
        """Claim followers; see :func:`autotask.store.follow.follow`."""
        return follow.follow(connection, self._registration.id, wanted, queues=queues, slots=present().slots)

    def find_lanes(self, connection: BaseDatabaseWrapper, sure: Sequence[Lane] = ()) -> Found:
        """Return the lanes that hold ready tasks, and those that hold suspects, without paused tasks; and the rest of a look.

        :param sure: lanes that need no look.
        """
        found = self._find_lanes(connection, sure)
        if self.paused.note(found.paused):
            found = self._find_lanes(connection)  # without the names that it has just learned of
        if not self.paused:
            return found
        # Nobody serves paused queues, so nobody need be notified of them.
        lanes, suspected = (
            [lane for lane in each if not self.paused.bars(lane.queue)] for each in (found.lanes, found.suspected)
        )
        return found._replace(lanes=lanes, suspected=suspected)

    def _find_lanes(self, connection: BaseDatabaseWrapper, sure: Sequence[Lane] = ()) -> Found:
        return claim.find_lanes(
            connection,
            sure=sure,
            unknown_names=self._unknown_tasks.names(),
            paused_names=self.paused.names,
            spared=self._refused.spared(),
        )

    def unknown(self, connection: BaseDatabaseWrapper, held: Sequence[int]) -> list[uuid.UUID]:
        """Return the ids of the tasks that run under the name of this worker and are not held."""
        return forgotten.unknown(connection, self._registration.id, held)

    def reconcile(
        self, connection: BaseDatabaseWrapper, held: Sequence[int], among: Sequence[uuid.UUID]
    ) -> list[uuid.UUID]:
        """Release those among some tasks that run under the name of this worker and are not held; return their ids."""
        return forgotten.reconcile(connection, self._registration.id, held, among=among, refused=self._refused)
