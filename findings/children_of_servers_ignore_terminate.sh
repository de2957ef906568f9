#!/bin/sh
# Process.terminate() in an application that a server runs (gunicorn 27.0.1, uvicorn 0.54.0, granian 2.8.9; multiprocessing of
# Python 3.11).
#
# Belief: child.terminate() sends SIGTERM, and a child that only sleeps ends: nothing in it handles that signal. So leaving the
#   block "with multiprocessing.Pool()", which terminates the processes of the pool, takes no time.
# Seen: in a view under gunicorn (sync workers or threads), uvicorn or granian the child goes on. multiprocessing forks on Linux until
#   Python 3.13, and a fork inherits the handler with which the server's worker notes that it should stop. So the child only
#   notes it. A handler that os.register_at_fork() sets back ends that, as here in workers (autotask/processes/life.py).
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check gunicorn==27.0.1 uvicorn==0.54.0 granian==2.8.9
cat > answers.py <<'PYTHON'
import asyncio
import multiprocessing
import time

forking = multiprocessing.get_context("fork")


def end_of_child():
    """Return the exit code of a child that was terminated; None if it still runs."""
    child = forking.Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.2)
    child.terminate()
    child.join(5)
    code = child.exitcode
    child.kill()
    child.join()
    return str(code)


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [end_of_child().encode()]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        body = await asyncio.to_thread(end_of_child)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})
PYTHON
cat > try.py <<'PYTHON'
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version

from answers import end_of_child

SERVERS = {
    "gunicorn": "gunicorn answers:wsgi --log-level critical --bind 127.0.0.1:{}",
    "gunicorn with threads": "gunicorn answers:wsgi --threads 2 --log-level critical --bind 127.0.0.1:{}",
    "uvicorn": "uvicorn answers:asgi --log-level critical --port {}",
    "granian": "granian answers:wsgi --interface wsgi --no-log --port {}",
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def answer(port):
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
                return response.read().decode()
        except ConnectionRefusedError:
            pass
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
        assert time.monotonic() < end, "the server does not answer"
        time.sleep(0.1)


print("Python", platform.python_version())
plain = end_of_child()
print("in a plain program: believed -15; seen", plain)
seen = {}
for name, line in SERVERS.items():
    port = free_port()
    program, *words = line.format(port).split()
    server = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), program), *words], start_new_session=True)
    try:
        seen[name] = answer(port)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    print(f"{name} ({version(program)}): believed -15; seen {seen[name]}, 5 s after terminate()")
sys.exit(0 if plain == "-15" and set(seen.values()) == {"None"} else 1)
PYTHON
venv/bin/python try.py
