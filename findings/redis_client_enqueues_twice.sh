#!/bin/sh
# A call of a task whose answer is lost on its way from Redis (redis 8.1.0, RQ 3.0.0, Celery 5.7.0, huey 3.5.4).
#
# Belief: a client sends a command once. If the connection breaks before the answer comes, it raises ConnectionError, and the caller
#   decides whether the job may exist twice. A retry inside the client repeats the connection, or commands that only read.
# Seen: the client of Redis sends any command again on a new connection, also INCR, and MULTI … EXEC of a pipeline. One INCR counts
#   two. One enqueue() of RQ stores the id of its job twice, and a worker runs the job twice. One call of Celery sends two
#   messages. Each of the calls returns as if nothing had happened. huey raises an error, and has stored one.
# Needs the program redis-server. Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/redis.pid") 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check redis==8.1.0 rq==3.0.0 "celery[redis]==5.7.0" huey==3.5.4
port=$(venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save '' --daemonize yes --pidfile "$folder/redis.pid" >redis.log
cat >work.py <<'PYTHON'
def pay():
    with open("paid", "a") as file:
        print("paid", file=file)
PYTHON
export PYTHONPATH="$folder" REDIS="$port"
venv/bin/python - <<'PYTHON'
import os
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import work
from celery import Celery
from huey import RedisHuey
from redis import ConnectionError, Redis
from rq import Queue

SERVER = int(os.environ["REDIS"])


class Proxy:
    """Stands between a client and Redis, and closes the connection in place of one answer."""

    def __init__(self):
        self.command = None
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def lose_answer_to(self, command):
        self.command = command

    def accept(self):
        while True:
            client, _ = self.listening.accept()
            server = socket.create_connection(("127.0.0.1", SERVER))
            lost = threading.Event()
            threading.Thread(target=self.pass_commands, args=(client, server, lost), daemon=True).start()
            threading.Thread(target=self.pass_answers, args=(client, server, lost), daemon=True).start()

    def pass_commands(self, client, server, lost):
        while data := client.recv(65536):
            if self.command and self.command in data.upper():
                self.command = None
                lost.set()
            server.sendall(data)
        server.shutdown(socket.SHUT_RDWR)

    def pass_answers(self, client, server, lost):
        while (data := server.recv(65536)) and not lost.is_set():
            client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)


proxy = Proxy()
direct, through = Redis(port=SERVER), Redis(port=proxy.port)
while True:
    try:
        direct.ping()
        break
    except ConnectionError:
        time.sleep(0.1)
print(*(f"{name} {version(name)}" for name in ("redis", "rq", "celery", "huey")), "server", direct.info()["redis_version"])
seen = {}


def call(name, command, act, count):
    """Act once, while the answer to a command is lost, and note what the caller sees and what is stored."""
    proxy.lose_answer_to(command)
    try:
        act()
        outcome = "returned"
    except Exception as error:
        outcome = type(error).__name__
    assert proxy.command is None, f"{name} has not sent {command}"
    seen[name] = outcome, int(count())
    print(f"{name}, one call: believed ConnectionError and 1; seen: {outcome} and {seen[name][1]}")


call("INCR", b"INCR", lambda: through.incr("number"), lambda: direct.get("number"))
queue = Queue(connection=through)
call("RQ", b"RPUSH", lambda: queue.enqueue(work.pay), lambda: direct.llen("rq:queue:default"))
celery = Celery(broker=f"redis://127.0.0.1:{proxy.port}/0")
call("Celery", b"LPUSH", lambda: celery.send_task("pay"), lambda: direct.llen("celery"))
huey = RedisHuey("one", host="127.0.0.1", port=proxy.port)
call("huey", b"LPUSH", huey.task()(work.pay), lambda: direct.llen("huey.redis.one"))
command = [f"{os.path.dirname(sys.executable)}/rq", "worker", "--burst", "--quiet", "--url", f"redis://127.0.0.1:{SERVER}/0"]
subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
paid = len(open("paid").readlines())
print("runs of the job of RQ: believed 1; seen", paid)
returned_twice = {seen[name] for name in ("INCR", "RQ", "Celery")} == {("returned", 2)}
sys.exit(0 if returned_twice and seen["huey"] == ("ConnectionError", 1) and paid == 2 else 1)
PYTHON
