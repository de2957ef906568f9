"""The HTTP API on real servers: posts beside a bare view that makes the same call, and clients that wait."""

import asyncio
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import django
import psutil

from autotask.acts import keys
from autotask.handle import TaskHandle
from benchmarks.drivers.autotask_idle import megabytes
from benchmarks.drivers.base import Driver
from benchmarks.figures import percentile

#: Requests in one piece, and pieces of each view.
PIECE = 500
PIECES = 5

#: Clients that wait, and the seconds between two ends of their tasks.
CLIENTS = 1_000
APART = 0.01

#: The name of the connections of requests; the one that listens has another.
SERVER = "benchmark server"

NAME = "benchmarks.functions.nothing"


def http_post(driver: Driver) -> dict[str, Any]:
    """Post to the API and to a bare view in turns, on gunicorn with two sync workers."""
    key = _key()
    body = json.dumps({"name": NAME, "params": {"number": 1}}).encode()
    with _served("gunicorn", "benchmarks.served.wsgi", "--workers=2", "--no-control-socket") as (_, port):
        rates: dict[str, list[float]] = {"/bare/": [], "/tasks/": []}
        for address in rates:
            _posts(port, address, key, body, 100)
        for _ in range(PIECES):
            for address, found in rates.items():
                found.append(_posts(port, address, key, body, PIECE))
    ratios = [api / bare for api, bare in zip(rates["/tasks/"], rates["/bare/"], strict=True)]
    return {
        "post_rate": median(rates["/tasks/"]),
        "bare_rate": median(rates["/bare/"]),
        "post_ratio": median(ratios),
    }


def http_wait(driver: Driver) -> dict[str, Any]:
    """Let clients wait on uvicorn with one process, and end their tasks one after the other."""
    key = _key()
    with _uvicorn("inside") as (server, port):
        inside = asyncio.run(_wait(driver, server, port, key))
    with _uvicorn("application") as (server, port):
        found = asyncio.run(_wait(driver, server, port, key))
        same = asyncio.run(_at_once(driver, port, key))
    return {
        **found,
        "at_once_p99_ms": 1000 * percentile(same, 0.99),
        "inside_kb_a_client": inside["kb_a_client"],
        "inside_p99_ms": inside["answer_p99_ms"],
    }


def http_held(driver: Driver) -> dict[str, Any]:
    """Let as many clients wait for nothing: in a view of Django, and in an application without Django."""
    django_kb, threads = _held("inside", "/held/")
    let_go_kb, _ = _held("inside", "/let_go/")
    empty_kb, _ = _held("empty", "/held/")
    return {
        "django_kb_a_client": django_kb,
        "django_threads": threads,
        "let_go_kb_a_client": let_go_kb,
        "empty_kb_a_client": empty_kb,
    }


# --- posts ----------------------------------------------------------------------------------------------------------


def _posts(port: int, address: str, key: str, body: bytes, count: int) -> float:
    """Post from two threads, and return the requests in a second."""
    text = _request("POST", address, key, body)
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        for status in threads.map(lambda _: _exchange(port, text), range(count)):
            assert status == 201, status
    return count / (time.perf_counter() - began)


def _exchange(port: int, text: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(text)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return int(answer.split(None, 2)[1])


# --- waits ----------------------------------------------------------------------------------------------------------


async def _wait(driver: Driver, server: psutil.Process, port: int, key: str) -> dict[str, Any]:
    await _round(driver, port, key, 100, server)
    before = megabytes(server)
    found = await _round(driver, port, key, CLIENTS, server)
    return {
        "kb_a_client": 1000 * (found["megabytes"] - before) / CLIENTS,
        "threads": found["threads"],
        "listening": found["listening"],
        "connections": found["connections"],
        "answer_p50_ms": 1000 * percentile(found["delays"], 0.5),
        "answer_p99_ms": 1000 * percentile(found["delays"], 0.99),
    }


async def _round(driver: Driver, port: int, key: str, count: int, server: psutil.Process) -> dict[str, Any]:
    """Let each client wait for a task of its own."""
    ids = await asyncio.to_thread(_tasks, count)
    clients = [asyncio.create_task(_client(port, key, id)) for id in ids]
    await _settled(functools.partial(_connections, driver), server)
    found = {
        "megabytes": megabytes(server),
        "threads": server.num_threads(),
        "listening": driver.sql.value(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'autotask listener'"
        ),
        "connections": _connections(driver),
    }
    ended: dict[str, float] = {}
    due = time.perf_counter()
    for id in ids:
        due += APART
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        ended[id] = await asyncio.to_thread(_end, id)
    answered = dict(await asyncio.gather(*clients))
    return {**found, "delays": [answered[id] - ended[id] for id in ids]}


async def _at_once(driver: Driver, port: int, key: str) -> list[float]:
    """Let all clients wait for the same task."""
    [id] = await asyncio.to_thread(_tasks, 1)
    clients = [asyncio.create_task(_client(port, key, id)) for _ in range(CLIENTS)]
    await asyncio.sleep(20)
    ended = await asyncio.to_thread(_end, id)
    return [moment - ended for _, moment in await asyncio.gather(*clients)]


async def _client(port: int, key: str, id: str) -> tuple[str, float]:
    """Wait for a task, and return its id and the moment of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request("GET", f"/tasks/{id}/?wait=600", key))
    head = await reader.readuntil(b"\r\n\r\n")
    moment = time.perf_counter()
    assert head.split(None, 2)[1] == b"200", head
    body = await reader.read()
    assert b'"cancelled"' in body, body
    writer.close()
    return id, moment


async def _settled(connections: Callable[[], int], server: psutil.Process) -> None:
    """Wait until all clients wait: the connections of their requests are closed, and the server is idle."""
    still, deadline = 0, time.monotonic() + 120
    while still < 5:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the clients do not come to rest: {connections()} connections")
        before = sum(server.cpu_times()[:2])
        await asyncio.sleep(0.5)
        is_idle = sum(server.cpu_times()[:2]) - before < 0.1
        still = still + 1 if is_idle and not connections() else 0


def _connections(driver: Driver) -> int:
    return int(
        driver.sql.value(
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = '{SERVER}'"
        )
    )


def _tasks(count: int) -> list[str]:
    from benchmarks.functions import nothing

    return [str(handle.id) for handle in nothing.using(delay=3600).enqueue_many([(n,) for n in range(count)])]


def _end(id: str) -> float:
    assert TaskHandle[object](id).cancel()
    return time.perf_counter()


def _held(application: str, address: str) -> tuple[float, int]:
    """Return the kilobytes of the server for each client that waits, and its threads."""
    with _uvicorn(application) as (server, port):
        return asyncio.run(_hold(server, port, address))


async def _hold(server: psutil.Process, port: int, address: str) -> tuple[float, int]:
    await _stay(server, port, address, 100)
    before = megabytes(server)
    found, threads = await _stay(server, port, address, CLIENTS)
    return 1000 * (found - before) / CLIENTS, threads


async def _stay(server: psutil.Process, port: int, address: str, count: int) -> tuple[float, int]:
    """Let clients wait, then go away; return the memory and the threads of the server while they wait."""
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_request("GET", address, "x"))
        writers.append(writer)
    await _idle(server)
    found = megabytes(server), server.num_threads()
    for writer in writers:
        writer.close()
    await _idle(server)
    return found


async def _idle(server: psutil.Process) -> None:
    """Wait until the server is idle."""
    await _settled(lambda: 0, server)


# --- parts ----------------------------------------------------------------------------------------------------------


def _key() -> str:
    django.setup()
    return keys.create("benchmark", ["submit", "read"]).secret


def _request(method: str, address: str, key: str, body: bytes = b"") -> bytes:
    head = [
        f"{method} {address} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: close",
        f"Authorization: Bearer {key}",
        *(["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []),
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


@contextlib.contextmanager
def _uvicorn(application: str) -> Iterator[tuple[psutil.Process, int]]:
    """Run uvicorn with one process; yield it and its port."""
    where = f"benchmarks.served.asgi:{application}"
    with _served("uvicorn", where, "--no-access-log", "--log-level=warning", "--lifespan=off") as (server, port):
        yield psutil.Process(server.pid), port


@contextlib.contextmanager
def _served(server: str, application: str, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server; yield it and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--bind", f"127.0.0.1:{port}"] if server == "gunicorn" else ["--port", str(port)]
    command = [sys.executable, "-m", server, application, *where, *options]
    started = subprocess.Popen(command, env={**os.environ, "PGAPPNAME": SERVER}, stdout=sys.stderr)
    try:
        _wait_for_answer(started, port)
        yield started, port
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _wait_for_answer(started: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        if started.poll() is not None:
            raise RuntimeError("the server has ended")
        try:
            _exchange(port, _request("GET", "/nothing/", "x"))
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
