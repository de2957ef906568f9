"""Poolers before a server: pgbouncer and pgpool-II, with their files in their own folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.postgres import Server, free_port
from tests.helpers import wait_until
from tests.programs import Program

PGBOUNCER = """
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
max_client_conn = 100
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits
"""

PGPOOL = """
listen_addresses = '127.0.0.1'
port = {port}
pcp_port = {pcp}
socket_dir = '{folder}'
unix_socket_directories = '{folder}'
pcp_socket_dir = '{folder}'
work_dir = '{folder}'
logdir = '{folder}'
pid_file_name = '{folder}/pgpool.pid'
backend_clustering_mode = 'streaming_replication'
backend_hostname0 = '127.0.0.1'
backend_port0 = {server}
backend_weight0 = 1
backend_flag0 = 'ALLOW_TO_FAILOVER'
num_init_children = 24
max_pool = 2
enable_pool_hba = off
sr_check_period = 0
sr_check_user = 'postgres'
health_check_period = 0
load_balance_mode = on
use_watchdog = off
"""

POOLERS = ("pgbouncer, sessions", "pgbouncer, transactions", "pgpool-II")


class Pooler:
    """A pooler that runs until it is closed.

    :param kind: one of :data:`POOLERS`.
    :param size: the most connections of pgbouncer to the server.
    """

    def __init__(self, kind: str, server: Server, size: int = 30) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="autotask-pooler-", dir="/tmp"))
        name, _, mode = kind.partition(", ")
        if name == "pgbouncer":
            text = PGBOUNCER.format(server=server.port, port=self.port, mode=mode.removesuffix("s"), size=size)
            command = [_program("pgbouncer"), self._file("pgbouncer.ini", text)]
        else:
            text = PGPOOL.format(server=server.port, port=self.port, pcp=free_port(), folder=self._folder)
            command = [_program("pgpool"), "-n", "-f", self._file("pgpool.conf", text)]
            command += ["-F", self._file("pcp.conf", ""), "-a", self._file("pool_hba.conf", "")]
        account = server._place.credentials
        if account:
            os.chown(self._folder, server._place.uid, server._place.gid)
        self._program = Program(command, dict(os.environ), self._folder, cwd="/", **account)
        try:
            wait_until(self._answers, 20, f"{name} that answers")
        except AssertionError:
            log = self._program.output()
            self.close()
            raise AssertionError(log) from None

    def close(self) -> None:
        """End it, and delete its files."""
        with suppress(subprocess.TimeoutExpired):
            self._program.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, name: str, text: str) -> Path:
        file = self._folder / name
        file.write_text(text)
        file.chmod(0o644)
        return file

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


def _program(name: str) -> str:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program
