#!/bin/sh
# Killing the master of uvicorn --workers (uvicorn 0.54.0; gunicorn 27.0.1 for comparison).
#
# Belief: the workers of a server notice that their master has died, and end: those of gunicorn look at their parent's id each second.
#   So a service manager can start the server again.
# Seen: those of uvicorn go on serving, now as children of init, and keep the port: a new server cannot bind to it, while old
#   code goes on answering requests.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check uvicorn==0.54.0 gunicorn==27.0.1
cat > site.py <<'PYTHON'
import os


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
PYTHON
mv site.py answers.py
cat > try.py <<'PYTHON'
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version

SERVERS = {
    "uvicorn": ["uvicorn", "answers:asgi", "--workers", "2", "--log-level", "critical", "--port"],
    "gunicorn": ["gunicorn", "answers:wsgi", "--workers", "2", "--log-level", "critical", "--bind"],
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def worker(port):
    """Return the process id of the worker that answers; None if nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return int(answer.read())
    except OSError:
        return None


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def can_bind(port):
    try:
        socket.create_server(("127.0.0.1", int(port))).close()
    except OSError:
        return False
    return True


serves = {}
for name, (program, *words) in SERVERS.items():
    port = free_port()
    words[-1:] = [words[-1], port if name == "uvicorn" else f"127.0.0.1:{port}"]
    master = subprocess.Popen([os.path.join(os.path.dirname(sys.executable), program), *words], start_new_session=True)
    try:
        assert wait_until(lambda: worker(port), 30), f"{name} does not answer"
        master.kill()
        master.wait()
        gone = wait_until(lambda: worker(port) is None and can_bind(port), 15)
        serves[name] = not gone
        print(f"{name} {version(name)}: 15 s after its master was killed,", "all is gone" if gone else "workers serve")
    finally:
        os.killpg(master.pid, signal.SIGKILL)
sys.exit(0 if serves == {"uvicorn": True, "gunicorn": False} else 1)
PYTHON
venv/bin/python try.py
