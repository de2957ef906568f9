"""Services: chores alongside the loop, and the thread that runs them on a connection of their own."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Optional, Protocol

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import Dedicated, dedicated
from autotask.store.listening import Listening
from autotask.wakeup import Wakeup
from autotask.worker.hygiene import tidy_connections
from autotask.worker.outage import Outage

logger = logging.getLogger("autotask.worker")

#: Seconds until a service runs again that failed for another reason than the database: less than any lease.
AFTER_FAILURE = 5.0

#: Seconds for which a thread waits for the connection of another one, before it opens its own.
PATIENCE = 0.3

#: Seconds until the thread continues after a failure outside of the services.
PAUSE_AFTER_FAILURE = 0.5


class Service(Protocol):
    """A chore alongside the worker's loop."""

    #: Its work, as text: "cannot <doing>".
    doing: str

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Do it once, and return the seconds until the next run."""


class ServiceThread:
    """A thread that runs services on a connection of their own.

    :param role: the purpose of the connection, shown in ``pg_stat_activity``.
    :param services: in the order of their importance.
    :param channel: returns the name of a channel; a notification there makes all services due.
    :param told: called with the payload of each of these; returns the seconds until the services have to run.
    :param guest_of: run on the connection of this other thread as long as its services leave it free, and on one of their own
        only then: an idle worker should hold few of them.
    :ivar connection: its own connection.
    :ivar in_use: held while a service runs on that connection.
    """

    def __init__(
        self,
        role: str,
        *services: Service,
        channel: Callable[[], str] | None = None,
        told: Callable[[str], float] = lambda payload: 0.0,
        guest_of: Optional["ServiceThread"] = None,
    ) -> None:
        now = time.monotonic()
        self._services = services
        self._due = dict.fromkeys(services, now)
        self._outage = {service: Outage(service.doing) for service in services}
        self._connecting = Outage(services[0].doing)
        self.connection = dedicated(role)
        self.in_use = threading.Lock()
        self._told = told
        self._guest_of = guest_of
        self._listening = Listening(self.connection, lambda: (channel(),)) if channel else None
        self._wakeup = Wakeup()
        #: Kinds of services that are due at once. Each step on it is atomic.
        self._hurried: set[type[Service]] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"autotask-{role}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread, waiting up to *seconds* for its current statement."""
        self._stopping = True
        self._wakeup.wake()
        self._thread.join(seconds)

    def hurry(self, kind: type[Service]) -> None:
        """Run the service of a kind as soon as possible. Any thread may call this."""
        self._hurried.add(kind)
        self._wakeup.wake()

    def hurry_all(self) -> None:
        """Run all services as soon as possible. Any thread may call this."""
        self._hurried.update(map(type, self._services))
        self._wakeup.wake()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception:  # whatever it is: without a sign of life the worker would count as dead
                logger.exception("The services of the worker (%s) have failed, and continue", self._thread.name)
                time.sleep(PAUSE_AFTER_FAILURE)
        with self.in_use:
            self.connection.close()

    def _turn(self) -> None:
        now = time.monotonic()
        while self._hurried:
            kind = self._hurried.pop()
            self._due |= {service: now for service in self._services if isinstance(service, kind)}
        due = [service for service in self._services if self._due[service] <= now]
        if due:
            # One at a time, in order: an important one does not wait for all the others.
            wait = self._run_one(due[0])  # and only then the clock
            self._due[due[0]] = time.monotonic() + wait
        elif (soon := self.sleep(min(self._due.values()) - now)) is not None:
            at = time.monotonic() + soon
            self._due = {service: min(due, at) for service, due in self._due.items()}

    def _run_one(self, service: Service) -> float:
        with self._taken() as connection:
            return self._run_on(connection, service)

    @contextlib.contextmanager
    def _taken(self) -> Iterator[Dedicated]:
        """Take a connection for a moment."""
        if (host := self._guest_of) is not None and host.in_use.acquire(timeout=PATIENCE):
            try:
                self.connection.close()  # The last time, it was needed.
                yield host.connection
            finally:
                host.in_use.release()
        else:
            with self.in_use:
                yield self.connection

    def _run_on(self, dedicated: Dedicated, service: Service) -> float:
        outage = self._connecting
        try:
            connection = dedicated.wrapper
            outage.succeeded()
            outage = self._outage[service]
            # In this order: the service sees changes that were notified before this thread listened.
            self._listen()
            wait = service.run_once(connection)
        except (DatabaseError, InterfaceError) as error:
            dedicated.close()
            wait = outage.failed(error)
            if outage is self._connecting:
                self._let_all_wait(wait)
            return wait
        except Exception:
            logger.exception(
                "The service of the worker that should %s has failed, and will be run again", service.doing
            )
            return AFTER_FAILURE
        finally:
            # Receivers of its signals may use Django's connections in this thread.
            tidy_connections(unsure=True)
        outage.succeeded()
        return wait

    def _let_all_wait(self, seconds: float) -> None:
        """Run no service for a while: if one could not connect, neither could the others."""
        at = time.monotonic() + seconds
        self._due = {service: max(due, at) for service, due in self._due.items()}

    def sleep(self, seconds: float) -> float | None:
        """Sleep, and return the seconds until the services have to run because of a notification; None if none came."""
        try:
            listening = self._listen()
            if listening is None:
                self._wakeup.sleep(seconds)
                return None
            if not (heard := listening.heard()):
                self._wakeup.sleep(seconds, listening.fileno())
                heard = listening.heard()
            return min((self._told(payload) for _, payload in heard), default=None)
        except (DatabaseError, InterfaceError, OSError):  # OSError: the socket of a lost connection
            self.connection.close()
            return 0.0  # The next service connects again, or logs that it cannot.

    def _listen(self) -> Listening | None:
        if self._listening is None or not self.connection.is_open:
            return None  # Services connect, and report it if they cannot.
        self._listening.renew()
        return self._listening
