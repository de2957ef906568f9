"""The triggers of one background worker: those of the site, which one run handles, and those of each host or process."""

from django.db import DatabaseError, InterfaceError

from autotask.store import triggers
from autotask.worker.background.inbox import Inbox
from autotask.worker.background.instance import Instance
from autotask.worker.outage import Outage


class Triggers:
    """Runs an instance for the triggers that wait. Only the thread of the instance calls it.

    :param instance: of a background worker.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._inbox = Inbox(instance)
        self._outage = Outage(f"handle the triggers of the background worker {instance.worker.name}")

    def handle(self) -> bool:
        """Run once for all triggers that wait; return whether there were any."""
        # There can be some of the site if there was one in the site before.
        if self._inbox.handle_triggers():
            return True
        return self._instance.grant.place != "" and self._handle_own()

    def wait(self) -> None:
        """Wait for a trigger."""
        self._inbox.wait()

    def _handle_own(self) -> bool:
        instance = self._instance
        try:
            with instance.parts.lending.borrow() as connection:
                ids = triggers.waiting(connection, instance.grant)
            if not ids:
                return False
            if instance.may_run():
                instance.run_once()
                if instance.interrupted:
                    return True
                # Not before: if this worker dies or ends meanwhile, another one of its host runs for them.
                with instance.parts.lending.borrow() as connection:
                    triggers.done(connection, ids)
        except (DatabaseError, InterfaceError, OSError) as error:
            instance.here.control.sleep(self._outage.failed(error))
        else:
            self._outage.succeeded()
        return True
