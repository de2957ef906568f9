"""A small thing that runs beside the loop, and the thread that runs all of them with one connection."""

import logging
import threading
import time
from typing import Protocol

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import dedicated
from autotask.worker.weather import Weather

logger = logging.getLogger("autotask.worker")

#: Seconds until a service is run again that has failed for another reason than the database: less than any lease.
AFTER_FAILURE = 5.0


class Service(Protocol):
    """A chore beside the worker's loop."""

    #: What it does, for people: "cannot <doing>".
    doing: str

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Do it once, and return the seconds until it is to be done again."""


class ServiceThread:
    """The thread that runs the services; its connection is neither the loop's nor the recorder's.

    :param services: in the order of their importance.
    """

    def __init__(self, *services: Service) -> None:
        now = time.monotonic()
        self._services = services
        self._due = dict.fromkeys(services, now)
        self._weather = {service: Weather(service.doing) for service in services}
        self._connection = dedicated("services")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autotask-services", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread, waiting at most so many seconds for the statement it is at."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            now = time.monotonic()
            due = [service for service in self._services if self._due[service] <= now]
            if due:
                # One at a time, the first of them first: a heartbeat does not wait for all the others.
                self._due[due[0]] = time.monotonic() + self._run_one(due[0])
            else:
                self._stopping.wait(max(0.0, min(self._due.values()) - now))
        self._connection.close()

    def _run_one(self, service: Service) -> float:
        weather = self._weather[service]
        try:
            wait = service.run_once(self._connection.wrapper)
        except (DatabaseError, InterfaceError) as error:
            self._connection.close()
            return weather.failed(error)
        except Exception:
            logger.exception(
                "The service of the worker that should %s has failed, and will be run again", service.doing
            )
            return AFTER_FAILURE
        weather.succeeded()
        return wait
