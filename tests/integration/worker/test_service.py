"""Services of a worker: what they share while the database is away."""

import contextlib
import socket
import threading
import time

import pytest

from autotask.worker.service import ServiceThread

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
    thread.start()
    time.sleep(2.0)
    thread.stop(5)

    # Then: after 0.1, 0.2, 0.4 and 0.8 s, a fifth sooner at most; not each of the five services
    assert 2 <= server.calls <= 6
