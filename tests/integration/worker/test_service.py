"""Services of a worker: what they share while the database is away."""

import contextlib
import socket
import threading
import time

import pytest

from autotask.worker.service import ServiceThread
from tests.helpers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class HangingUp(threading.Thread):
    """A server that hangs up on everybody, and counts them."""

    def __init__(self):
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.calls = 0

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.calls += 1
                connection.close()

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.join()


class Chore:
    doing = "do a chore"

    def run_once(self, connection):
        raise AssertionError("there is no connection")


@pytest.fixture
def server():
    server = HangingUp()
    server.start()
    yield server
    server.close()


def test_while_the_database_is_away_one_try_to_connect_serves_all_services(server):
    # Given
    thread = ServiceThread("test", *(Chore() for _ in range(5)))
    thread.connection._settings |= {"HOST": "127.0.0.1", "PORT": server.port}
    thread.connection._settings["OPTIONS"] |= {"sslmode": "disable", "gssencmode": "disable"}

    # When
    began = time.monotonic()
    thread.start()
    wait_until(lambda: server.calls >= 4)
    lasted = time.monotonic() - began
    thread.stop(5)

    # Then: the further ones come after 0.1, 0.2 and 0.4 s, a fifth sooner at most; not each of the five services tries
    assert lasted >= 0.8 * 0.7
