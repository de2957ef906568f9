#!/bin/sh
# Django 6.1.3 with asgiref 3.13.0 and uvicorn 0.54.0: what an async view costs while it waits.
#
# Belief: an async view that awaits something holds a coroutine and nothing else: that is why one writes it.
# Seen: each request keeps a thread of its own until the response is sent, even if the view calls no sync code: Django runs the
# request in a ThreadSensitiveContext of asgiref, and the sync receivers of its own signal request_started, such as
# close_old_connections, run in the thread of that context, which ends with it. If the view has queried the database, the thread
# also keeps that connection. So a thousand clients that wait cost a thousand sleeping threads.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu

DJANGO=6.1.3
ASGIREF=3.13.0
UVICORN=0.54.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "Django==$DJANGO" "asgiref==$ASGIREF" "uvicorn==$UVICORN"
"$work/venv/bin/pip" list 2>/dev/null | grep -i -E "^(django|asgiref|uvicorn) "

cat >"$work/waiting_site.py" <<'PYTHON'
import asyncio
import threading

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="not-a-secret", MIDDLEWARE=[])
waiting, gate = [], asyncio.Event()


async def wait(request):
    waiting.append(request)
    await gate.wait()
    return HttpResponse()


async def count(request):
    found = f"{len(waiting)} {threading.active_count()}"
    return HttpResponse(found)


async def go(request):
    gate.set()
    return HttpResponse()


urlpatterns = [path("wait", wait), path("count", count), path("go", go)]
application = get_asgi_application()
PYTHON

cat >"$work/look.py" <<'PYTHON'
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request

work, clients = pathlib.Path(sys.argv[1]), 50


def threads_while_waiting():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [str(work / "venv/bin/python"), "-m", "uvicorn", "waiting_site:application", f"--port={port}"]
    server = subprocess.Popen([*program, "--log-level=warning"], cwd=work)
    try:
        return look(f"http://127.0.0.1:{port}/")
    finally:
        server.kill()
        server.wait()


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def look(site):
    end = time.monotonic() + 60
    while True:
        try:
            get(f"{site}count")
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    waiting = [threading.Thread(target=get, args=(f"{site}wait",)) for _ in range(clients)]
    for each in waiting:
        each.start()
    while True:
        there, threads = map(int, get(f"{site}count").split())
        if there == clients or time.monotonic() > end:
            break
        time.sleep(0.1)
    get(f"{site}go")
    for each in waiting:
        each.join()
    return threads


threads = threads_while_waiting()
print(f"{clients} clients wait in an async view that calls no sync code: believed a few threads in the server, seen {threads}")
sys.exit(threads < clients)
PYTHON
"$work/venv/bin/python" "$work/look.py" "$work"
